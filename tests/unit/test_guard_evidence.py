"""What the guard recognises in charon's log: lines that were recorded from both ends of real negotiations."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_charon import A, recorded, recordings

from nodes.abnormality.machine import Side
from nodes.abnormality.remembered import MOST
from nodes.peer.guard.evidence import MOST_TEXT, Recogniser

S, R = Side.SENDER, Side.RECEIVER

RECEIVER = {
    "ikev1-ike-proposal": ("ike-proposal", True),
    "ikev1-esp-proposal": ("esp-proposal", True),
    "ikev1-psk": ("undecryptable", False),
    "ikev1-id-initiator": ("identity", True),
    "ikev1-traffic-selector": ("traffic-selector", True),
    "ikev1-unknown-peer": ("unknown-peer", True),
    "ikev1-version": ("version", False),
    "ikev1-malformed-header": ("malformed-header", False),
    "ikev1-malformed-payload": ("malformed-payload", True),
    "ikev1-corrupted-encrypted": ("undecryptable", False),
    "ikev1-certificate-expired": ("certificate-expired", True),
    "ikev1-certificate-untrusted": ("certificate-untrusted", True),
    "ikev2-ike-proposal": ("ike-proposal", True),
    "ikev2-esp-proposal": ("esp-proposal", True),
    "ikev2-psk": ("psk", True),
    "ikev2-id-initiator": ("identity", True),
    "ikev2-id-responder": ("identity", True),
    "ikev2-traffic-selector": ("traffic-selector", True),
    "ikev2-unknown-peer": ("unknown-peer", True),
    "ikev2-version": ("version", False),
    "ikev2-malformed-header": ("malformed-header", False),
    "ikev2-malformed-payload": ("malformed-payload", True),
    "ikev2-corrupted-encrypted": ("undecryptable", False),
    "ikev2-certificate-expired": ("certificate-expired", True),
    "ikev2-certificate-untrusted": ("certificate-untrusted", True),
}
"""What the receiver recognises first, and whether the sender can read charon's own word of it."""
UNSEEN_BY_SENDER = {
    *("ikev1-psk", "ikev1-corrupted-encrypted", "ikev1-malformed-header"),
    *("ikev2-corrupted-encrypted", "ikev2-malformed-header"),
}
"""The sender's charon has nothing to go by: the abnormal-information message is for these."""
BY_ITSELF = {"ikev1-id-responder": "identity", "ikev1-dead-peer": "no-answer", "ikev2-dead-peer": "no-answer"}
"""What the sender recognises without the receiver's word."""


def read(name, at):
    """What one end's guard recognises, in order."""
    recogniser = Recogniser()
    found = (recogniser.read(line.text, line.ike_id) for line in recorded(name) if line.at == at)
    return [one for one in found if one is not None]


@pytest.mark.parametrize("name", RECEIVER)
def test_the_receiver_recognises_what_is_abnormal(name):
    found = read(name, "b")
    reason, readable = RECEIVER[name]
    assert (found[0].reason, found[0].readable) == (reason, readable)
    assert {one.side for one in found} == {R}


@pytest.mark.parametrize(
    "name", [name for name in RECEIVER if name not in UNSEEN_BY_SENDER | {"ikev1-version"}]
)
def test_the_sender_recognises_charons_own_refusal(name):
    found = read(name, "a")
    assert found[0].reason == "refused"
    assert {one.side for one in found} == {S}


@pytest.mark.parametrize("name", sorted(UNSEEN_BY_SENDER))
def test_without_a_word_that_it_can_read_the_sender_goes_on_until_it_gives_up(name):
    assert {one.reason for one in read(name, "a")} == {"no-answer"}  # once it has given up


def test_an_answer_with_another_version_is_a_header_that_the_sender_cannot_read():
    found = read("ikev1-version", "a")[0]
    assert (found.reason, found.ike_id) == ("malformed-header", None)


@pytest.mark.parametrize("name", BY_ITSELF)
def test_the_sender_recognises_by_itself(name):
    found = read(name, "a")
    assert found[0].reason == BY_ITSELF[name]
    assert read(name, "b") == []


@pytest.mark.parametrize("name", [name for name in recordings() if "well" in name])
@pytest.mark.parametrize("at", ["a", "b"])
def test_negotiations_rekeys_and_their_collisions_that_go_well_are_no_evidence(name, at):
    assert len(recorded(name)) > 100
    assert read(name, at) == []


def test_each_recording_is_of_a_kind_that_is_judged_here():
    judged = {*RECEIVER, *BY_ITSELF}
    assert {name for name in recordings() if "well" not in name} == judged


@pytest.mark.parametrize("name", ["ikev1-version", "ikev1-malformed-header", "ikev2-version"])
def test_where_charon_makes_no_ike_sa_the_line_has_the_partner(name):
    found = read(name, "b")[0]
    assert (found.ike_id, found.partner) == (None, A)


TWO_LINES = (
    "could not decrypt payloads",
    "ID_PROT request with message ID 0 processing failed",
)


@pytest.mark.parametrize("lines", list(itertools.permutations(TWO_LINES)))
def test_two_lines_that_belong_together_may_come_in_either_order(lines):
    recogniser = Recogniser()
    first, second = (recogniser.read(line, 7) for line in lines)
    assert first is None
    assert (second.reason, second.side, second.ike_id) == ("undecryptable", R, 7)


def test_lines_of_different_ike_sas_do_not_belong_together():
    recogniser = Recogniser()
    assert [recogniser.read(line, ike_id) for ike_id, line in enumerate(TWO_LINES, 1)] == [None, None]


@pytest.mark.parametrize("order", [1, -1])
def test_an_informational_message_that_cannot_be_read_ends_nothing(order):
    recogniser = Recogniser()
    lines = ["could not decrypt payloads", "INFORMATIONAL_V1 request with message ID 7 processing failed"]
    assert [recogniser.read(line, 1) for line in lines[::order]] == [None, None]
    assert recogniser.read("QUICK_MODE request with message ID 9 processing failed", 1) is None


@pytest.mark.parametrize(
    ("exchange", "line", "side"),
    [
        ("parsed CREATE_CHILD_SA request 0 [ SA No TSi TSr ]", "no acceptable proposal found", R),
        ("parsed CREATE_CHILD_SA response 3 [ SA No TSi TSr ]", "no acceptable proposal found", S),
        (
            "parsed CREATE_CHILD_SA response 3 [ N(NO_PROP) ]",
            "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built",
            S,
        ),
        (
            "generating QUICK_MODE request 7 [ HASH SA No ID ID ]",
            "received NO_PROPOSAL_CHOSEN error notify",
            S,
        ),
        (
            "parsed QUICK_MODE response 7 [ HASH SA No ID ID ]",
            "traffic selectors fd00::/64 === fd01::/64 unacceptable",
            S,
        ),
    ],
)
def test_who_began_the_exchange_is_the_sender_whoever_began_the_ike_sa(exchange, line, side):
    recogniser = Recogniser()
    began, answered = "generating IKE_SA_INIT request 0 [ SA ]", "parsed IKE_SA_INIT request 0 [ SA ]"
    assert recogniser.read(began if side is R else answered, 7) is None
    assert recogniser.read(exchange, 7) is None
    assert recogniser.read("parsed INFORMATIONAL_V1 request 9 [ HASH N(NO_PROP) ]", 7) is None
    assert recogniser.read(line, 7).side is side


@pytest.mark.parametrize("notify", ["TEMPORARY_FAILURE", "CHILD_SA_NOT_FOUND", "INVALID_KE_PAYLOAD"])
def test_error_notifies_that_are_part_of_a_good_rekey_are_no_evidence(notify):
    assert Recogniser().read(f"received {notify} notify error", 1) is None


def test_what_is_remembered_of_lines_is_bounded():
    recogniser = Recogniser()
    for ike_id in range(MOST + 1):
        recogniser.read("could not decrypt payloads", ike_id)
    failed = "ID_PROT request with message ID 0 processing failed"
    assert recogniser.read(failed, 0) is None  # forgotten
    assert recogniser.read(failed, MOST) is not None


def test_of_a_long_line_a_part_is_kept():
    found = Recogniser().read("no IKE config found for a...b" + "x" * 5000, 1)
    assert len(found.text) == MOST_TEXT


@given(st.lists(st.tuples(st.text(max_size=80), st.one_of(st.none(), st.integers(1, 3)))))
def test_any_lines_are_read_without_harm(lines):
    recogniser = Recogniser()
    for text, ike_id in lines:
        recogniser.read(text, ike_id)
