"""Whose negotiation charon's lines are about, and which negotiations are this node's own, in flight."""

import pytest
from recorded_charon import A, B, recorded

from nodes.abnormality.remembered import MOST
from nodes.peer.guard.sightings import FLIGHT_NS, JUST_NS, Flights, Sightings
from nodes.peer.guard.wire import Endpoints, Header
from nodes.peer.model import ChildSa, IkeSa

OURS, THEIRS = b"initiatr", b"respondr"
NOW = 10**12


def header(initiator=OURS, responder=bytes(8), *, exchange=2, flags=0, partner=B, version=0x10):
    return Header(Endpoints(A, 500, partner, 500), initiator, responder, version, exchange, flags, b"")


def ike_sa(**fields):
    told = {
        "name": "tunnel",
        "unique_id": 1,
        "version": 1,
        "state": "CONNECTING",
        "initiator": True,
        "initiator_spi": OURS.hex(),
        "responder_spi": THEIRS.hex(),
        "local_address": A,
        "local_port": 4500,
        "local_id": A,
        "remote_address": B,
        "remote_port": 4500,
        "remote_id": B,
    }
    return IkeSa(**told | fields)


@pytest.mark.parametrize("name", ["ikev1-psk", "ikev2-psk", "ikev1-unknown-peer", "ikev2-ike-proposal"])
@pytest.mark.parametrize(("at", "partner", "began"), [("a", B, True), ("b", A, False)])
def test_the_lines_about_packets_say_with_whom_and_who_began(name, at, partner, began):
    sightings = Sightings()
    for line in recorded(name):
        if line.at == at and line.ike_id is not None:
            sightings.read(line.text, line.ike_id)
    found = sightings.of(1)
    assert (found.ends.partner, found.began) == (partner, began)


def test_what_vici_says_of_an_ike_sa_has_its_cookies_too():
    sightings = Sightings()
    sightings.told(ike_sa())
    found = sightings.of(1)
    assert (found.header.initiator_cookie, found.header.responder_cookie) == (OURS, THEIRS)
    assert (found.ends, found.began) == (Endpoints(A, 4500, B, 4500), True)


def read(sightings, name, *, until):
    """Read what the sender said in a recording, up to a line that begins so."""
    for line in recorded(name):
        if line.at == "a" and line.ike_id is not None:
            sightings.read(line.text, line.ike_id)
            if line.text.startswith(until):
                return
    raise AssertionError(f"{name} has no line {until}")


def test_a_sender_awaits_a_child_from_its_quick_mode_on_until_it_has_one():
    sightings = Sightings()
    read(sightings, "ikev1-well-psk", until="generating ID_PROT request 0 [ KE")
    assert not sightings.of(1).awaits_child
    read(sightings, "ikev1-well-psk", until="generating QUICK_MODE request")
    sightings.told(ike_sa())
    assert sightings.of(1).awaits_child
    child = ChildSa(
        name="inner", unique_id=1, reqid=1, state="INSTALLED", mode="TUNNEL", local_ts=(), remote_ts=()
    )
    sightings.told(ike_sa(children=(child,)))
    sightings.told(ike_sa())  # the CHILD_SA is gone again
    assert not sightings.of(1).awaits_child


def test_an_ike_sa_without_a_quick_mode_or_of_the_partner_awaits_no_child():
    sightings = Sightings()
    sightings.told(ike_sa())
    assert not sightings.of(1).awaits_child
    sightings.told(ike_sa(initiator=False))
    sightings.read("generating QUICK_MODE request 188321486 [ HASH SA No KE ID ID ]", 1)
    assert not sightings.of(1).awaits_child


def test_sightings_are_bounded():
    sightings = Sightings()
    for ike_id in range(MOST + 10):
        sightings.read(f"received packet: from {B}[500] to {A}[500] (100 bytes)", ike_id)
    assert sightings.of(0) is None
    assert sightings.of(MOST + 9) is not None


def test_a_negotiation_that_this_node_began_is_in_flight_with_exactly_its_cookies():
    flights = Flights()
    flights.sent(header(), NOW)
    assert flights.find(B, OURS, bytes(8), NOW)
    flights.sent(header(responder=THEIRS), NOW)
    assert flights.find(B, OURS, THEIRS, NOW)
    for partner, initiator, responder in (
        (B, OURS, bytes(8)),
        (B, OURS, b"respondX"),
        (B, b"initiatX", THEIRS),
        ("fd00::c", OURS, THEIRS),
    ):
        assert flights.find(partner, initiator, responder, NOW) is None


def test_what_a_node_answers_is_no_negotiation_of_its_own():
    flights = Flights()
    flights.sent(header(responder=THEIRS), NOW)  # main mode 2
    flights.sent(header(b"theirspi", exchange=34, flags=0x20, version=0x20), NOW)  # a refusal of IKE_SA_INIT
    assert not flights.has(OURS)
    assert not flights.has(b"theirspi")


def test_a_first_message_that_is_damaged_on_its_way_out_is_one_all_the_same():
    flights = Flights()
    flights.sent(header(exchange=253), NOW)
    assert flights.find(B, OURS, bytes(8), NOW)


def test_charon_says_what_it_is_negotiating():
    flights = Flights()
    flights.began(ike_sa(responder_spi="0" * 16), NOW)
    assert flights.find(B, OURS, bytes(8), NOW)
    flights.sent(header(responder=THEIRS, exchange=250), NOW)
    flights.began(ike_sa(responder_spi="0" * 16), NOW)  # an older word does not take back what went out
    assert flights.find(B, OURS, THEIRS, NOW)


def test_a_negotiation_that_succeeded_is_not_in_flight_any_more():
    flights = Flights()
    flights.sent(header(), NOW)
    flights.landed(OURS, NOW, established=True)
    assert flights.find(B, OURS, bytes(8), NOW) is None


@pytest.mark.parametrize("before", [True, False], ids=["heard of before", "not heard of before"])
def test_what_is_heard_of_a_negotiation_after_its_success_does_not_put_it_in_flight_again(before):
    flights = Flights()
    if before:
        flights.sent(header(), NOW)
    flights.landed(OURS, NOW, established=True)
    assert not flights.sent(header(), NOW)
    assert not flights.sent(header(responder=THEIRS), NOW)
    flights.began(ike_sa(), NOW)
    flights.landed(OURS, NOW, established=False)  # the IKE SA is deleted
    assert not flights.has(OURS)
    assert flights.find(B, OURS, THEIRS, NOW) is None


def test_the_successes_that_are_remembered_are_bounded():
    flights = Flights()
    for number in range(MOST + 1):
        flights.landed(number.to_bytes(8, "big"), NOW, established=True)
    flights.sent(header(bytes(8)), NOW)
    assert flights.in_flight(bytes(8))
    assert not flights.sent(header((MOST).to_bytes(8, "big")), NOW)


def test_one_that_failed_is_known_for_a_moment_longer():
    flights = Flights()
    flights.sent(header(), NOW)
    flights.landed(OURS, NOW, established=False)
    assert flights.find(B, OURS, bytes(8), NOW + JUST_NS)
    assert flights.find(B, OURS, bytes(8), NOW + JUST_NS + 1) is None


def test_one_that_was_not_heard_of_for_long_is_over():
    flights = Flights()
    flights.sent(header(), NOW)
    assert flights.find(B, OURS, bytes(8), NOW + FLIGHT_NS)
    assert flights.find(B, OURS, bytes(8), NOW + FLIGHT_NS + 1) is None


def test_flights_are_bounded():
    flights = Flights()
    for number in range(MOST + 1):
        flights.sent(header(number.to_bytes(8, "big")), NOW)
    assert not flights.has(bytes(8))
    assert flights.has(MOST.to_bytes(8, "big"))


def test_what_goes_out_after_a_failure_does_not_take_it_back():
    flights = Flights()
    assert flights.sent(header(), NOW)
    flights.landed(OURS, NOW, established=False)
    assert flights.sent(header(exchange=5), NOW + 1)  # a DELETE, or that this node is mended
    assert not flights.in_flight(OURS)
    assert flights.find(B, OURS, bytes(8), NOW + JUST_NS + 1) is None


def test_one_is_in_flight_until_it_has_come_to_its_end():
    flights = Flights()
    assert not flights.in_flight(OURS)
    flights.sent(header(), NOW)
    assert flights.in_flight(OURS)
    flights.landed(OURS, NOW, established=False)
    assert not flights.in_flight(OURS)
    assert flights.has(OURS)
