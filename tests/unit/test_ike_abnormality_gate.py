"""Method 2 natively: two endpoints with their gates, on a wire that loses and delays as it is told."""

import pytest
from ike_wire import FOR_EVER, LOST, TWICE, Wire, fault

from nodes.abnormality.message import AbnormalInformation, build, parse
from nodes.abnormality.model import AbnormalityOptions
from nodes.ike.abnormality import AbnormalityGate
from nodes.ike.endpoint import Endpoint
from nodes.ike.messages.header import ExchangeType
from nodes.ike.settings import IkeOptions
from nodes.peer.model import Psk

T1, T2 = 60.0, 50.0
OPTIONS = AbnormalityOptions(handling="on", t1=T1, t2=T2)
PROPOSALS = {"proposals": ("aes256-sha256-modp2048",)}
SECRET = {"auth": Psk(secret="not the partner's")}
INACTIVE, ACTIVE = "abnormality.inactive", "abnormality.active"
WRONG = pytest.mark.parametrize("wrong", [PROPOSALS, SECRET], ids=["proposals", "secret"])


def guarded():
    """A wire with the method in force at both ends."""
    wire = Wire()
    for side in wire.sides:
        gate = AbnormalityGate(OPTIONS)
        side.endpoint = Endpoint(IkeOptions(retransmit_timeout=1.0, retransmit_tries=3), gate)
        gate.attach(side.endpoint.context, side.endpoint.phase1, side.endpoint.has_pairs)
    wire.load()
    return wire


def fail(wire, wrong):
    """Let the first end negotiate with what the second does not accept."""
    wire.load(only=wire.a, a=wrong)
    outcome = wire.initiate()
    wire.run(20)
    assert outcome[0][0] is None


def states(side):
    """The changes of state at an end: side, state, reason."""
    names = {INACTIVE: "inactive", ACTIVE: "active"}
    return [(e.data["side"], names[e.kind], e.data["reason"]) for e in side.kinds(INACTIVE, ACTIVE)]


def is_mended(datagram):
    said = parse(datagram)
    return said is not None and said.reason == "mended"


@WRONG
def test_after_an_abnormal_negotiation_both_ends_are_inactive(wrong):
    wire = guarded()
    fail(wire, wrong)
    assert [one[:2] for one in states(wire.a)] == [("sender", "inactive")]
    assert [one[:2] for one in states(wire.b)] == [("receiver", "inactive")]
    begun = len(wire.messages)
    assert wire.initiate() == [(None, "the partner is inactive after an abnormal negotiation")]
    assert len(wire.messages) == begun


def test_a_refusal_whose_notify_is_lost_is_known_by_the_delete_behind_it():
    wire = guarded()
    wire.faults.append(fault(ExchangeType.INFORMATIONAL, 1, LOST, sender="b"))
    fail(wire, {"child": {"esp_proposals": ("aes128-sha256",)}})
    assert wire.a.reasons("negotiation.failed") == ["the partner deletes the ISAKMP SA"]
    assert states(wire.a) == [("sender", "inactive", "refused")]
    assert [one[:2] for one in states(wire.b)] == [("receiver", "inactive")]


def test_a_partner_that_deletes_an_isakmp_sa_with_a_pair_has_refused_nothing():
    wire = guarded()
    wire.up()
    wire.faults.append(fault(ExchangeType.QUICK_MODE, 1, LOST, times=FOR_EVER))
    wire.rekey(wire.a)
    sa = wire.b.endpoint.phase1.sas.newest(wire.b.endpoint.profiles["tunnel"])
    wire.b.endpoint.phase1.delete(sa, "command", announce=True)
    wire.drain(wire.b)
    wire.run(1)
    assert wire.a.kinds("ike-sa.deleted")
    assert states(wire.a) == []


@WRONG
def test_a_sender_that_is_mended_has_its_tunnel_at_once(wrong):
    wire = guarded()
    fail(wire, wrong)
    wire.load(only=wire.a)
    wire.run(0.01)
    assert states(wire.a)[-1] == ("sender", "active", "configured")
    assert states(wire.b)[-1] == ("receiver", "active", "mended")
    wire.up()


@WRONG
def test_a_word_of_being_mended_that_is_lost_is_repeated_with_the_next_negotiation(wrong):
    wire = guarded()
    fail(wire, wrong)
    lost = []

    def lose_the_first(_side, _exchange, _number, datagram):
        if is_mended(datagram) and not lost:
            lost.append(datagram)
            return LOST
        return None

    wire.faults.append(lose_the_first)
    wire.load(only=wire.a)
    outcome = wire.initiate()
    wire.run(5)
    assert lost
    assert outcome[0][0] is not None
    assert states(wire.b)[-1] == ("receiver", "active", "mended")


def test_a_word_that_is_repeated_after_it_was_believed_is_not_counted_as_refused():
    wire = guarded()
    fail(wire, SECRET)
    wire.faults.append(lambda _side, _exchange, _number, octets: TWICE if is_mended(octets) else None)
    wire.load(only=wire.a)
    wire.run(2)
    assert states(wire.b)[-1] == ("receiver", "active", "mended")
    assert wire.b.kinds("abnormality.message.refused") == []


def test_a_message_of_what_failed_that_comes_again_after_the_repair_does_not_count():
    wire = guarded()
    fail(wire, PROPOSALS)
    first = wire.messages[0][-1]
    wire.load(only=wire.a)
    wire.run(0.01)
    wire.inject(wire.b, first)
    assert states(wire.b)[-1] == ("receiver", "active", "mended")
    wire.up()


@pytest.mark.parametrize("place", ["initiator_cookie", "responder_cookie"])
def test_a_word_with_a_wrong_cookie_frees_nobody(place):
    wire = guarded()
    fail(wire, SECRET)
    (failed,) = [event for event in wire.b.events if event.kind == "abnormality.message.sent"]
    cookies = {
        "initiator_cookie": bytes.fromhex(failed.data["initiator_spi"]),
        "responder_cookie": bytes.fromhex(failed.data["responder_spi"]),
    }
    forged = AbnormalInformation(version=1, reason="mended", **cookies | {place: b"anything"})
    wire.inject(wire.b, build(forged, message_id=1))
    wire.run(2)
    assert states(wire.b)[-1][:2] == ("receiver", "inactive")
    (refused,) = wire.b.kinds("abnormality.message.refused")
    assert refused.data["messages"] == 1


def test_when_its_time_is_over_a_side_is_active_by_itself():
    wire = guarded()
    fail(wire, SECRET)
    wire.run(T1)
    assert states(wire.a)[-1] == ("sender", "active", "expired")
    assert states(wire.b)[-1] == ("receiver", "active", "expired")
