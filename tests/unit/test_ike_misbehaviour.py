"""Faults of our own making: what each does on the wire, and what the partner makes of it."""

import msgspec
import pytest
from ike_wire import MM, QM, Wire

from nodes.ike.messages.header import parse_header
from nodes.ike.messages.malformed import MalformedError
from nodes.ike.model import IkeConnection, Misbehaviour

PEM = "-----BEGIN "
SOON = {"retransmit_timeout": 0.1, "retransmit_base": 1, "retransmit_tries": 3}


def misbehaving(fault, *, side="a", **more):
    """A wire one of whose ends misbehaves."""
    wire = Wire(a=SOON, b=SOON, connection={side: {"misbehaviour": (Misbehaviour(fault=fault, **more),)}})
    outcome = wire.initiate()
    wire.run(5)
    return wire, outcome


def test_a_wrong_secret_is_a_message_5_that_cannot_be_read():
    wire, outcome = misbehaving("wrong-psk")
    assert outcome[0][0] is None
    (failed,) = wire.b.kinds("negotiation.failed")
    assert (failed.data["side"], failed.data["exchange"]) == ("responder", "main-mode")
    assert failed.data["reason"].startswith("message 5 cannot be read")


def test_a_wrong_secret_of_the_responder_is_a_message_5_that_it_cannot_read():
    wire, outcome = misbehaving("wrong-psk", side="b")
    assert outcome[0][0] is None
    assert wire.b.kinds("negotiation.failed")


def test_a_wrong_identity_is_refused_by_the_responder():
    wire, outcome = misbehaving("wrong-id")
    assert outcome == [(None, "the partner says AUTHENTICATION-FAILED")]
    assert "whom we do not expect" in wire.b.kinds("negotiation.failed")[0].data["reason"]


def test_a_wrong_identity_is_refused_by_the_initiator():
    _, outcome = misbehaving("wrong-id", side="b")
    assert outcome[0][1].startswith("the partner is somebody-else.invalid, not ")


def test_a_wrong_proposal_is_told_as_such():
    wire, outcome = misbehaving("wrong-proposal")
    assert outcome == [(None, "the partner says NO-PROPOSAL-CHOSEN")]
    assert wire.b.kinds("negotiation.failed")


def test_a_responder_that_chooses_what_was_not_offered_is_refused():
    _, outcome = misbehaving("wrong-proposal", side="b")
    assert outcome == [(None, "the partner chose what we did not offer")]


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_wrong_proposal_of_quick_mode(side):
    _, outcome = misbehaving("wrong-proposal", side=side, exchange="quick-mode")
    assert outcome[0][0] is None
    assert outcome[0][1] in ("the partner says NO-PROPOSAL-CHOSEN", "the partner chose what we did not offer")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("bad-version", "major version 3"),
        ("malformed-header", "a length of"),
        ("malformed-payload", "a payload of"),
    ],
)
def test_a_malformed_message_is_refused(fault, reason):
    wire, outcome = misbehaving(fault, message=3)
    assert outcome[0][0] is None
    assert reason in wire.b.kinds("packet.rejected")[0].data["text"]


def test_a_malformed_header_is_what_the_codec_refuses():
    wire, _ = misbehaving("malformed-header", message=1)
    sent = next(m[4] for m in wire.messages if m[1] == "a")
    with pytest.raises(MalformedError, match="a length of"):
        parse_header(sent)


@pytest.mark.parametrize(("exchange", "message"), [("main-mode", 5), ("quick-mode", 1), ("quick-mode", 3)])
def test_a_corrupted_encrypted_message_is_refused_by_its_hash(exchange, message):
    wire, outcome = misbehaving("corrupted", exchange=exchange, message=message)
    assert wire.b.kinds("packet.rejected")
    assert (outcome[0][0] is None) == (message != 3)  # after message 2 the initiator has its SA


@pytest.mark.parametrize(
    ("exchange", "message", "said"), [("main-mode", 3, (2, 0)), ("quick-mode", 1, (3, 1))]
)
def test_silence_after_a_message(exchange, message, said):
    wire, outcome = misbehaving("silence", exchange=exchange, message=message)
    assert outcome[0][0] is None
    numbers = [len({m[4] for m in wire.messages if m[1] == "a" and m[2] == one}) for one in (MM, QM)]
    assert tuple(numbers) == said


def test_a_fault_for_one_negotiation_lets_the_next_succeed():
    wire, outcome = misbehaving("wrong-psk", times=1)
    assert outcome[0][0] is None
    again = wire.initiate()
    wire.run(5)
    assert again[0][0] is not None


def test_a_misbehaviour_crosses_the_control_channel():
    plain = {"fault": "silence", "exchange": "quick-mode", "message": 2, "times": 3}
    assert msgspec.to_builtins(msgspec.convert(plain, Misbehaviour)) == plain
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"fault": "loud"}, Misbehaviour)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "speaks version 1"),
        ({"proposals": ["3des-sha1-modp1024"]}, "'3des' is unknown"),
        ({"auth": {"type": "cert", **dict.fromkeys(("certificate", "key", "ca"), PEM)}}, "pre-shared key"),
    ],
)
def test_a_connection_that_the_endpoint_cannot_have_is_refused_with_the_reason(change, reason):
    plain = {
        "name": "tunnel",
        "local": {"address": "fd00::a"},
        "remote": {"address": "fd00::b"},
        "auth": {"type": "psk", "secret": "x"},
        "children": [{"name": "inner", "local_ts": ["fd00:a::/64"], "remote_ts": ["fd00:b::/64"]}],
    }
    assert msgspec.convert(plain, IkeConnection).version == 1
    with pytest.raises(msgspec.ValidationError, match=reason):
        msgspec.convert(plain | change, IkeConnection)
