"""The gate before each negotiation, and what it is told of those that failed (the seam of method 2)."""

from ike_wire import A, B, Wire

from nodes.ike.endpoint import Endpoint
from nodes.ike.gate import OpenGate
from nodes.ike.settings import IkeOptions
from nodes.peer.model import Psk


class Watched(OpenGate):
    """A gate that is open or shut, and remembers."""

    def __init__(self):
        self.open = True
        self.asked, self.told = [], []

    def may_negotiate(self, peer, side, now):
        self.asked.append((peer, side))
        return self.open

    def failed(self, peer, side, cookies, reason, now):
        self.told.append((peer, side, cookies, reason))


def watched(wire, name):
    """Put a gate before an end of the wire."""
    gate = Watched()
    side = getattr(wire, name)
    side.endpoint = Endpoint(IkeOptions(retransmit_timeout=0.1, retransmit_tries=2), gate)
    wire.load()
    return gate


def test_the_gate_is_asked_by_both_sides():
    wire = Wire()
    near, far = watched(wire, "a"), watched(wire, "b")
    wire.up()
    assert (str(B), "initiator") in near.asked
    assert set(far.asked) == {(str(A), "responder")}
    assert near.told == far.told == []


def test_a_shut_gate_answers_no_first_message():
    wire = Wire()
    gate = watched(wire, "b")
    gate.open = False
    wire.initiate()
    wire.run(1)
    assert not [m for m in wire.messages if m[1] == "b"]
    assert wire.b.endpoint.rejections.counts == {"inactive": 1}


def test_a_shut_gate_begins_no_negotiation():
    wire = Wire()
    gate = watched(wire, "a")
    gate.open = False
    outcome = wire.initiate()
    assert outcome == [(None, "the partner is inactive after an abnormal negotiation")]
    assert not wire.messages


def test_a_failure_is_told_with_its_cookies():
    wire = Wire()
    near, far = watched(wire, "a"), watched(wire, "b")
    wire.load(a={"auth": Psk(secret="other")})
    wire.initiate()
    wire.run(5)
    (told,) = far.told
    assert told[:2] == (str(A), "responder")
    assert all(any(cookie) for cookie in told[2])
    assert near.told[0][:2] == (str(B), "initiator")
    assert near.told[0][2] == told[2]


def test_a_partner_that_does_not_answer_is_a_failure():
    wire = Wire()
    gate = watched(wire, "a")
    wire.b.deaf = True
    wire.initiate()
    wire.run(5)
    ((peer, side, cookies, reason),) = gate.told
    assert (peer, side, reason) == (str(B), "initiator", "the partner did not answer")
    assert any(cookies[0])
    assert not any(cookies[1])
