"""The data plane's core: which SA takes a packet, what waits for one, what is told."""

import pytest
from esp_packets import (
    OUR_INNER,
    OUR_TS,
    OURS,
    THEIR_INNER,
    THEIR_TS,
    THEIRS,
    esp_sa,
    inner_packet,
    sealed,
    turned,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.esp import plane as plane_module
from nodes.esp.outbound import OutboundSa
from nodes.esp.plane import HELD_PACKETS, Plane, PlaneError
from nodes.esp.sa import FirstPacket, LimitReached, Limits, NoSa, Policy

SECOND = 1_000_000_000
ADDRESSES = OUR_INNER.packed + THEIR_INNER.packed


def policy(reqid=1, local_ts=OUR_TS, remote_ts=THEIR_TS):
    return Policy(reqid=reqid, local=OURS, remote=THEIRS, local_ts=local_ts, remote_ts=remote_ts)


@pytest.fixture
def plane():
    plane = Plane()
    plane.install_policy(policy())
    return plane


def packet(number=0):
    return memoryview(inner_packet(bytes([number])))


def receive(plane, octets, now_ns=0):
    """What the plane makes of an ESP packet: the inner packet, or nothing."""
    buffer = memoryview(bytearray(octets) + bytearray(64))
    spi = int.from_bytes(octets[:4], "big")
    first, size = plane.open(spi, buffer, 0, len(octets), now_ns)
    return bytes(buffer[first : first + size])


def in_use(plane):
    return plane.route(ADDRESSES).outbound.sa.spi


def test_a_packet_that_no_policy_selects_goes_nowhere(plane):
    assert plane.route(THEIR_INNER.packed + OUR_INNER.packed) is None
    assert plane.unprotected == 1


def test_the_narrower_policy_takes_the_packet(plane):
    narrow = policy(2, remote_ts=next(THEIR_TS.subnets(new_prefix=127)))
    plane.install_policy(narrow)
    assert plane.route(ADDRESSES).policy == narrow
    plane.remove_policy(2)
    assert plane.route(ADDRESSES).policy.reqid == 1


def test_a_flow_that_is_known_finds_a_narrower_policy_that_comes_later(plane):
    assert plane.route(ADDRESSES).policy.reqid == 1
    plane.install_policy(policy(2, remote_ts=next(THEIR_TS.subnets(new_prefix=127))))
    assert plane.route(ADDRESSES).policy.reqid == 2


def test_the_newest_outbound_sa_is_in_use(plane):
    for number in range(3):
        plane.install_outbound(esp_sa(0x1000 + number, key=bytes([number])))
        assert in_use(plane) == 0x1000 + number
    plane.remove_outbound(0x1001)
    assert in_use(plane) == 0x1002
    plane.remove_outbound(0x1002)
    assert in_use(plane) == 0x1000
    plane.remove_outbound(0x1000)
    assert plane.route(ADDRESSES).outbound is None


def test_an_outbound_sa_may_come_before_its_policy():
    plane = Plane()
    plane.install_outbound(esp_sa(0x1000))
    plane.install_policy(policy())
    assert in_use(plane) == 0x1000


def test_an_outbound_key_is_never_taken_twice(plane):
    plane.install_outbound(esp_sa(0x1000))
    plane.remove_outbound(0x1000)
    with pytest.raises(PlaneError, match="the key of the outbound SA 00001001 was in use before"):
        plane.install_outbound(esp_sa(0x1001))


def test_without_an_sa_it_is_told_once_a_second(plane):
    route = plane.route(ADDRESSES)
    for now in range(0, 3 * SECOND, SECOND // 10):
        plane.unsent(route, packet(), now)
    assert list(plane.events) == [NoSa(1, OUR_INNER, THEIR_INNER, n * SECOND) for n in range(3)]
    assert plane.lost == 30
    assert plane.release(1) == []


def test_what_waits_for_an_sa_that_is_installed_is_held(plane):
    plane.install_inbound(esp_sa(0x1000))
    route = plane.route(ADDRESSES)
    for number in range(3):
        plane.unsent(route, packet(number), 0)
    assert not plane.events
    assert plane.release(1) == []  # not yet
    plane.install_outbound(esp_sa(0x2000))
    assert plane.release(1) == [bytes(packet(number)) for number in range(3)]
    assert plane.release(1) == []


def test_the_queue_is_bounded_and_the_oldest_go(plane):
    plane.install_inbound(esp_sa(0x1000))
    route = plane.route(ADDRESSES)
    for number in range(HELD_PACKETS + 5):
        plane.unsent(route, packet(number % 256), 0)
    plane.install_outbound(esp_sa(0x2000))
    assert len(held := plane.release(1)) == HELD_PACKETS
    assert held[0] == bytes(packet(5))
    assert plane.lost == 5


def test_what_waits_for_an_sa_that_goes_is_lost(plane):
    plane.install_inbound(esp_sa(0x1000))
    plane.unsent(plane.route(ADDRESSES), packet(), 0)
    plane.remove_inbound(0x1000)
    plane.install_inbound(esp_sa(0x1001))
    plane.install_outbound(esp_sa(0x2000))
    assert plane.release(1) == []
    assert plane.lost == 1


def test_the_first_packet_is_told_once(plane):
    sa = esp_sa(0x1000)
    plane.install_inbound(turned(sa))
    partner = OutboundSa(turned(turned(sa)))
    inner = inner_packet()
    for now in (5, 6):
        assert receive(plane, sealed(partner, inner), now) == inner
    assert list(plane.events) == [FirstPacket(0x1000, 5)]


@settings(deadline=None)
@given(octets=st.binary(min_size=4, max_size=300))
def test_hostile_packets_tell_nothing(octets):
    plane = Plane()
    plane.install_inbound(turned(esp_sa(0x1000)))
    assert receive(plane, octets) == b""
    assert receive(plane, (0x1000).to_bytes(4, "big") + octets) == b""
    assert not plane.events
    assert plane.unknown_spi >= 1


def test_an_authentic_packet_with_nothing_of_use_is_a_first_packet_too(plane):
    sa = esp_sa(0x1000)
    plane.install_inbound(turned(sa))
    stray = inner_packet(source=THEIR_INNER, destination=THEIR_INNER)
    assert receive(plane, sealed(OutboundSa(sa), stray), 7) == b""
    assert list(plane.events) == [FirstPacket(0x1000, 7)]
    assert plane.usage()["in", 0x1000].refused == 1


def test_limits_are_told(plane):
    sa = esp_sa(0x1000, limits=Limits(soft_packets=2, hard_packets=3))
    plane.install_inbound(turned(sa))
    partner = OutboundSa(esp_sa(0x1000))
    got = [receive(plane, sealed(partner, inner_packet()), now) for now in range(5)]
    assert [bool(one) for one in got] == [True, True, True, False, False]
    assert list(plane.events)[1:] == [
        LimitReached(0x1000, "in", "packets", "soft", 1),
        LimitReached(0x1000, "in", "packets", "hard", 2),
    ]


@pytest.mark.parametrize("kind", ["inbound", "outbound"])
def test_the_number_of_sas_is_bounded(plane, kind, monkeypatch):
    monkeypatch.setattr(plane_module, "MOST_SAS", 3)
    install = getattr(plane, f"install_{kind}")
    for number in range(3):
        install(esp_sa(0x1000 + number, key=bytes([number])))
    with pytest.raises(PlaneError, match="0001000|there are 3"):
        install(esp_sa(0x1000 + 3, key=b"x"))
    with pytest.raises(PlaneError, match="installed already"):
        install(esp_sa(0x1000, key=b"y"))


def test_removing_what_is_not_there_does_nothing(plane):
    plane.remove_inbound(1)
    plane.remove_outbound(1)
    plane.remove_policy(99)
    assert plane.usage() == {}


def test_a_policy_that_holds_the_partner_itself_is_refused():
    with pytest.raises(ValueError, match="holds the partner's own address"):
        policy(remote_ts=next(THEIR_TS.supernet(new_prefix=8).subnets(new_prefix=8)))
