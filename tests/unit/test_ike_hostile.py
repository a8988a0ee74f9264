"""What enemies of an endpoint can send, and what does not come of it."""

import ipaddress
import struct

import pytest
from ike_wire import FOR_EVER, INFO, LOST, MM, QM, SECRET, Wire, fault

from nodes.ike.dataplane.base import FirstPacket
from nodes.ike.messages.header import HEADER, NO_COOKIE, Header, encode_header, parse_header
from nodes.ike.messages.notification import Notification, encode_deletion, encode_notification
from nodes.ike.messages.payloads import Payload, PayloadType, encode_chain
from nodes.ike.messages.sa_payload import Protocol

STRANGER = ipaddress.IPv6Address("fd00::bad")


def sent(wire, side, exchange, number):
    """The octets of a message that went over the wire, and the port it went to."""
    return next(m[4] for m in wire.messages if m[1:4] == (side, exchange, number))


def state(side):
    """What an endpoint holds."""
    core = side.endpoint
    return (
        len(core.phase1.sas),
        len(core.lifecycle.pairs),
        len(side.plane.inbound),
        len(side.plane.outbound),
        {sa.id: sa.state for sa in core.phase1.sas},
    )


def first_message(wire, cookie):
    """A first message with another cookie, as a flood would send it."""
    return cookie + sent(wire, "a", MM, 1)[8:]


@pytest.fixture
def wire():
    wire = Wire()
    wire.up()
    return wire


def test_a_replayed_first_message_of_quick_mode_makes_no_second_sa(wire):
    before = state(wire.b)
    replay = sent(wire, "a", QM, 1)
    for _ in range(1000):
        wire.inject(wire.b, replay)
    wire.run(1)
    assert state(wire.b) == before
    assert not wire.b.kinds("negotiation.failed")


def test_a_repeated_first_message_is_answered_by_the_stored_second_and_by_no_more_than_ten():
    wire = Wire()
    wire.faults.append(fault(QM, 2, LOST, times=FOR_EVER))
    wire.initiate()
    wire.run(0.1)
    replay = sent(wire, "a", QM, 1)
    for _ in range(100):
        wire.inject(wire.b, replay)
    answers = [m[4] for m in wire.messages if m[1:4] == ("b", QM, 2)]
    assert len(set(answers)) == 1
    assert len(answers) == 11
    assert len(wire.b.plane.inbound) == 1


def test_a_first_message_of_quick_mode_that_is_replayed_when_it_is_long_over_is_refused(wire):
    replay = sent(wire, "a", QM, 1)
    for _ in range(40):
        wire.rekey()
        wire.run(0.1)
    wire.b.endpoint.rejections.counts.clear()
    before = state(wire.b)
    wire.inject(wire.b, replay)
    assert state(wire.b) == before
    assert sum(wire.b.endpoint.rejections.counts.values()) == 1


@pytest.mark.parametrize("exchange", [MM, QM, INFO])
def test_wrong_cookies_are_counted_and_nothing_else(wire, exchange):
    before, said = state(wire.b), len(wire.messages)
    for cookies in ((b"x" * 8, b"y" * 8), (parse_header(sent(wire, "a", QM, 1)).initiator_cookie, b"y" * 8)):
        header = Header(*cookies, 8, exchange, 1, 77)
        wire.inject(wire.b, encode_header(header, 32) + bytes(32))
    assert state(wire.b) == before
    assert len(wire.messages) == said
    assert wire.b.endpoint.rejections.counts == {"invalid-cookie": 2}


def test_the_cookies_of_an_sa_are_nothing_from_another_address(wire):
    before = state(wire.b)
    wire.inject(wire.b, sent(wire, "a", QM, 3), source=STRANGER)
    assert state(wire.b) == before
    assert wire.b.endpoint.rejections.counts == {"address": 1}


def test_a_delete_in_the_clear_is_ignored(wire):
    before = state(wire.b)
    cookies = parse_header(sent(wire, "a", QM, 1)).cookies
    pair = wire.current(wire.b)
    for body in (
        encode_deletion(Protocol.ISAKMP, [b"".join(cookies)]),
        encode_deletion(Protocol.ESP, [pair.outbound.spi.to_bytes(4, "big")]),
    ):
        chain = encode_chain([Payload(PayloadType.DELETE, body)])
        wire.inject(wire.b, encode_header(Header(*cookies, 12, INFO, 0, 5), len(chain)) + chain)
    assert state(wire.b) == before


def test_an_encrypted_message_that_was_changed_is_ignored(wire):
    before = state(wire.b)
    wire.a.endpoint.terminate_pair(wire.current(wire.a), wire.now)
    wire.faults.append(fault(INFO, 1, LOST))
    wire.drain(wire.a)
    deletion = bytearray(sent(wire, "a", INFO, 1))
    for octet in range(HEADER, len(deletion)):
        changed = bytearray(deletion)
        changed[octet] ^= 0x55
        wire.inject(wire.b, bytes(changed))
        assert state(wire.b) == before
    wire.inject(wire.b, bytes(deletion))
    assert not wire.b.endpoint.lifecycle.pairs


def test_a_replayed_delete_changes_nothing(wire):
    wire.a.endpoint.terminate_pair(wire.current(wire.a), wire.now)
    wire.drain(wire.a)
    wire.run(0.1)
    replay = sent(wire, "a", INFO, 1)
    wire.initiate()
    wire.run(0.1)
    before = state(wire.b)
    wire.inject(wire.b, replay)
    assert state(wire.b) == before
    assert before[1] == 1


def test_an_unauthenticated_notify_ends_only_a_negotiation_under_way_with_exactly_its_cookies():
    wire = Wire()
    wire.b.deaf = True
    outcome = wire.initiate()
    wire.run(0.1)
    cookie = parse_header(sent(wire, "a", MM, 1)).initiator_cookie

    def notify(its_cookie):
        body = encode_notification(Notification(Protocol.ISAKMP, b"", 14))
        chain = encode_chain([Payload(PayloadType.NOTIFICATION, body)])
        return encode_header(Header(its_cookie, NO_COOKIE, 11, INFO, 0, 9), len(chain)) + chain

    wire.inject(wire.a, notify(b"guessed!"))
    assert outcome == []
    wire.inject(wire.a, notify(cookie))
    assert outcome == [(None, "the partner says NO-PROPOSAL-CHOSEN")]


def test_a_flood_of_first_messages_is_bounded_and_a_good_partner_still_comes_through():
    """2,000 forged first messages a second from the partner's own address, and as many from strangers."""
    wire = Wire()
    known = Wire()
    known.up()
    number = [0]

    def flood():
        number[0] += 1
        cookie = struct.pack("!Q", number[0])
        wire.inject(wire.b, first_message(known, cookie))
        wire.inject(wire.b, first_message(known, cookie), source=STRANGER)
        if number[0] < 4000:
            wire.at(wire.now + 0.0005, flood)

    flood()
    wire.run(0.5)
    options = wire.b.endpoint.context.options
    assert wire.b.endpoint.phase1.sas.half_open == options.half_open_per_peer
    outcome = wire.initiate()
    wire.run(1)
    assert outcome[0][0] is not None
    assert wire.b.endpoint.phase1.sas.half_open <= options.half_open_per_peer
    assert len(wire.b.kinds("packet.rejected")) < 100
    answered = [m for m in wire.messages if m[1] == "b" and m[2] == INFO]
    assert len(answered) <= 10  # strangers get a notify now and then
    wire.run(options.half_open_timeout + 2)
    assert wire.b.endpoint.phase1.sas.half_open == 0
    assert len(wire.b.endpoint.phase1.sas) == 1
    assert len(wire.b.endpoint.context.timers) < 1000


def test_the_rate_of_first_messages_is_limited_for_each_address():
    wire = Wire(b={"first_messages": 10})
    known = Wire()
    known.up()
    for number in range(100):
        wire.inject(wire.b, first_message(known, struct.pack("!Q", number + 1)))
    assert wire.b.endpoint.rejections.counts == {"rate": 90}
    assert wire.b.endpoint.phase1.sas.half_open == 10


def test_no_key_exchange_is_computed_before_our_cookie_came_back(monkeypatch):
    wire = Wire()
    known = Wire()
    known.up()
    computed = "nodes.ike.main_mode_responder.key_exchange"
    monkeypatch.setattr(computed, lambda _group: pytest.fail("a key was computed"))
    wire.inject(wire.b, first_message(known, b"12345678"))
    assert wire.b.endpoint.phase1.sas.half_open == 1


def test_an_sa_is_not_made_effective_by_a_packet_that_the_data_plane_did_not_authenticate():
    """The data plane tells of authenticated packets alone; one of another SPI is nothing to this pair."""
    wire = Wire()
    wire.faults.append(fault(QM, 3, LOST, times=FOR_EVER))
    wire.initiate()
    wire.run(0.1)
    (pair,) = wire.b.endpoint.lifecycle.pairs
    wire.b.endpoint.told(FirstPacket(pair.inbound.spi ^ 1, 0), wire.now)
    wire.drain(wire.b)
    assert pair.state.name == "INSTALLED"


def test_no_secret_is_in_any_text():
    wire = Wire(connection={"child": {"pfs": "ecp256"}})
    pair = wire.up()
    secrets = [
        SECRET,
        SECRET.encode().hex(),
        pair.inbound.encryption_key.hex(),
        repr(pair.inbound.encryption_key),
    ]
    for side in wire.sides:
        core = side.endpoint
        (sa,) = core.phase1.sas
        loaded = core.profiles["tunnel"]
        secrets += [sa.keys.cipher.hex(), sa.keys.skeyid_d.hex(), repr(sa.keys.skeyid_a)]
        texts = [
            repr(side.events),
            repr(side.plane.orders),
            repr(sa),
            repr(sa.keys),
            repr(loaded),
            str(vars(sa)),
        ]
        texts += [repr(core.lifecycle.pairs), repr(loaded.config), repr(pair)]
        for secret in secrets:
            assert not [text for text in texts if secret in text]


def test_a_message_that_is_too_long_or_too_short_is_refused(wire):
    before = state(wire.b)
    for octets in (b"", b"\xff", bytes(27), bytes(28), bytes(65000), sent(wire, "a", QM, 1) + b"\0"):
        wire.inject(wire.b, octets)
    assert state(wire.b) == before


def test_a_partner_that_opens_quick_modes_and_never_ends_them_is_stopped():
    wire = Wire(a={"retransmit_tries": 0, "retransmit_timeout": 0.01})
    wire.up()
    wire.faults.append(fault(QM, 2, LOST, times=FOR_EVER))
    for _ in range(40):
        wire.rekey()
        wire.run(0.05)
        wire.a.endpoint.context.outputs.clear()
        if not wire.a.endpoint.phase1.sas:
            break
    assert len(wire.b.endpoint.lifecycle.pairs) <= 17
