"""Messages of real charons are given their numbers without keys, by each end as it sees them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_ike import INITIATOR, RESPONDER, recorded

from nodes.faults import datagrams, messages
from nodes.faults.exchanges import Tracker
from nodes.faults.messages import Exchange

IKEV1 = (
    [("main-mode", n, False) for n in range(1, 7)]
    + [("quick-mode", n, False) for n in (1, 2, 3)] * 2
    + [("quick-mode", 1, False), ("quick-mode", 1, True), ("quick-mode", 2, False), ("quick-mode", 2, True)]
    + [("quick-mode", 3, False), ("quick-mode", 3, True)]
    + [("quick-mode", n, False) for n in (1, 2, 3)]
    + [("informational", 1, False)] * 5
)
REKEY = [("create-child-sa", 1), ("create-child-sa", 2), ("informational", 1), ("informational", 2)]
IKEV2 = (
    [("ike-sa-init", 1, False), ("ike-sa-init", 2, False), ("ike-auth", 1, False), ("ike-auth", 2, False)]
    + [(*one, False) for one in REKEY]
    + [("create-child-sa", 1, False), ("create-child-sa", 1, True)]
    + [(*one, False) for one in REKEY[1:] + REKEY]
    + [("informational", 1, False), ("informational", 2, False)]
)


def seen_by(node, name):
    tracker = Tracker()
    return [(one, tracker.see(one.message, outgoing=one.sender == node)) for one in recorded(name)]


@pytest.mark.parametrize("node", [INITIATOR, RESPONDER])
@pytest.mark.parametrize(("name", "expected"), [("ikev1-psk", IKEV1), ("ikev2-cert", IKEV2)])
def test_both_ends_number_the_messages_alike(node, name, expected):
    found = [
        (one.message.exchange.value, sighting.number, sighting.retransmission)
        for one, sighting in seen_by(node, name)
    ]
    assert found == expected


def test_each_quick_mode_and_each_informational_is_an_exchange_of_its_own():
    serials = {}
    for one, sighting in seen_by(INITIATOR, "ikev1-psk"):
        serials.setdefault(one.message.exchange, set()).add(sighting.exchange)
    assert {exchange: len(found) for exchange, found in serials.items()} == {
        Exchange.MAIN_MODE: 1,
        Exchange.QUICK_MODE: 4,
        Exchange.INFORMATIONAL: 5,
    }


def test_requests_of_the_two_sides_of_an_ikev2_sa_are_exchanges_of_their_own():
    pairs = {}
    for _, sighting in seen_by(RESPONDER, "ikev2-cert"):
        pairs.setdefault(sighting.exchange, set()).add(sighting.number)
    assert len(pairs) == 1 + 1 + 3 + 3 + 1
    assert all(numbers == {1, 2} for numbers in pairs.values())


def ike(exchange_type, version, *, flags=0, message_id=0, initiator=1, responder=0, following=0, body=b""):
    octets = struct.pack(
        "!QQBBBBII",
        initiator,
        responder,
        following,
        version << 4,
        exchange_type,
        flags,
        message_id,
        28 + len(body),
    )
    message = messages.read(octets + body)
    assert message is not None
    return message


def numbers(*sightings):
    return [sighting.number for sighting in sightings]


def test_a_first_message_that_is_repeated_with_a_cookie_goes_on_counting():
    tracker = Tracker()
    first, again = ike(34, 2, flags=0x08, body=b"a"), ike(34, 2, flags=0x08, body=b"cookie a")
    cookie, answer = ike(34, 2, flags=0x20, body=b"cookie"), ike(34, 2, flags=0x20, responder=2, body=b"b")
    exchange = [(first, True), (cookie, False), (again, True), (answer, False), (answer, False)]
    assert numbers(*(tracker.see(one, outgoing=out) for one, out in exchange)) == [1, 2, 3, 4, 4]


def test_ike_auth_with_several_round_trips_goes_on_counting():
    tracker = Tracker()
    exchange = [
        ike(35, 2, flags=flags, message_id=message_id, responder=2, body=b"%d" % message_id)
        for message_id in (1, 2, 3)
        for flags in (0x08, 0x20)
    ]
    assert numbers(*(tracker.see(one, outgoing=not one.response) for one in exchange)) == [1, 2, 3, 4, 5, 6]


def fragment(version, exchange_type, message_id, number, *, flags=0, body=b""):
    """A fragment as RFC 7383 §2.5 has it, or as IKEv1's implementations do."""
    if version == 2:
        return ike(
            exchange_type,
            2,
            flags=flags,
            message_id=message_id,
            responder=2,
            following=53,
            body=struct.pack("!BBHHH", 35, 0, 8 + len(body), number, 3) + body,
        )
    return ike(
        exchange_type,
        1,
        message_id=message_id,
        responder=2,
        following=132,
        body=struct.pack("!BBHHBB", 0, 0, 8 + len(body), 1, number, number == 3) + body,
    )


@pytest.mark.parametrize(("version", "exchange_type"), [(1, 2), (2, 35)])
def test_the_fragments_of_a_message_have_its_number_and_only_their_repetition_is_a_retransmission(
    version, exchange_type
):
    tracker = Tracker()
    parts = [fragment(version, exchange_type, 0, number, body=bytes([number])) for number in (1, 2, 3)]
    found = [tracker.see(part, outgoing=True) for part in (*parts, *parts)]
    assert [(sighting.number, sighting.retransmission) for sighting in found] == [(1, False)] * 3 + [
        (1, True)
    ] * 3


def test_a_damaged_message_has_the_number_of_the_one_it_was():
    tracker = Tracker()
    first, damaged = ike(32, 1, message_id=7, body=b"a"), ike(32, 1, message_id=7, body=b"b")
    assert numbers(tracker.see(damaged, outgoing=False), tracker.see(first, outgoing=False)) == [1, 1]
    assert tracker.see(ike(32, 1, message_id=7, body=b"c"), outgoing=True).number == 2


def test_under_a_flood_the_oldest_exchanges_are_forgotten():
    tracker = Tracker(most=2)
    flood = [tracker.see(ike(34, 2, initiator=spi), outgoing=False) for spi in (1, 2, 3)]
    assert tracker.see(ike(34, 2, initiator=3), outgoing=False) == flood[2]._replace(retransmission=True)
    assert tracker.see(ike(34, 2, initiator=1), outgoing=False).retransmission is False


@given(st.binary(max_size=80))
def test_no_octets_break_the_reading(octets):
    message = messages.read(octets)
    assert message is None or (len(octets) >= messages.HEADER_OCTETS and message.version in (1, 2))


@given(st.binary(max_size=120), st.sampled_from([b"", b"\x60" + bytes(5) + b"\x11\x40"]))
def test_no_packet_breaks_the_reading(octets, begin):
    packet = begin + octets
    datagram = datagrams.read(packet)
    if datagram is not None:
        assert 48 <= datagram.begin <= datagram.end <= len(packet)
        messages.ike_octets(packet, datagram)


def udp(payload, *, ports=(4500, 4500), extension=b""):
    header = struct.pack("!HHHH", *ports, 8 + len(payload), 0)
    first = struct.pack(
        "!IHBB", 6 << 28, len(extension) + 8 + len(payload), 60 if extension else 17, 64
    ) + bytes(range(32))
    return first + extension + header + payload


def test_esp_in_udp_and_keepalives_are_no_ike():
    for payload in (struct.pack("!II", 0xC0FFEE, 1) + bytes(60), b"\xff"):
        packet = udp(payload)
        datagram = datagrams.read(packet)
        assert datagram is not None
        assert messages.ike_octets(packet, datagram) is None


def test_ike_is_found_behind_the_non_esp_marker_and_behind_destination_options():
    message = bytes(28)
    for packet in (
        udp(bytes(4) + message),
        udp(message, ports=(500, 500)),
        udp(message, ports=(500, 500), extension=bytes([17, 0, 1, 4, 0, 0, 0, 0])),
    ):
        datagram = datagrams.read(packet)
        assert datagram is not None
        begin, end = messages.ike_octets(packet, datagram) or (0, 0)
        assert packet[begin:end] == message


@pytest.mark.parametrize("name", ["ikev1-psk", "ikev2-cert"])
def test_an_altered_packet_has_the_checksum_that_the_daemon_will_ask_for(name):
    for one in recorded(name):
        datagram = datagrams.read(one.packet)
        assert datagram is not None
        changed = datagrams.altered(one.packet, datagram, 30, b"\x55")
        assert datagrams.checksum_is_right(changed, datagram)
        again = datagrams.altered(changed, datagram, 30, one.packet[datagram.begin + 30 :][:1])
        assert datagrams.checksum_is_right(again, datagram)
        assert again[: datagram.begin - 2] == one.packet[: datagram.begin - 2]


def test_octets_outside_the_payload_cannot_be_altered():
    packet = recorded("ikev1-psk")[0].packet
    datagram = datagrams.read(packet)
    assert datagram is not None
    with pytest.raises(ValueError, match="not all in the payload"):
        datagrams.altered(packet, datagram, datagram.end - datagram.begin, b"x")
