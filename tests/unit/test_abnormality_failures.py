"""For which failed negotiation a side is inactive, in whatever order the word of it comes in."""

from typing import NamedTuple

import pytest

from nodes.abnormality.failures import Due, Failures
from nodes.abnormality.machine import Side
from nodes.abnormality.remembered import MOST

A, B = "fd00::a", "fd00::b"
OURS, THEIRS, OTHER = b"initiatr", b"respondr", b"othersid"
IKE = 7
SENDER, RECEIVER = Side


class Negotiation(NamedTuple):
    initiator_cookie: bytes = OURS
    responder_cookie: bytes = THEIRS


def test_a_mended_sender_tells_of_the_negotiation_that_failed():
    failures = Failures()
    assert failures.failed(B, SENDER, IKE, Negotiation(), newly=True) == []
    assert failures.mended_here(B) == [Due(SENDER, B, Negotiation())]
    assert not failures.owes(B)
    assert failures.mended_here(B) == []


def test_a_sender_that_is_mended_before_the_cookies_are_known_tells_once_they_are():
    failures = Failures()
    failures.failed(B, SENDER, IKE, None, newly=True)
    assert failures.mended_here(B) == []
    assert failures.owes(B)
    assert failures.identified(IKE + 1, Negotiation(OTHER)) == []
    assert failures.identified(IKE, Negotiation()) == [Due(SENDER, B, Negotiation())]
    assert not failures.owes(B)
    assert failures.identified(IKE, Negotiation()) == []


def test_a_receiver_is_freed_by_the_cookies_of_what_failed_here():
    failures = Failures()
    failures.failed(B, RECEIVER, IKE, Negotiation(), newly=True)
    assert failures.mended_there(B, OURS, THEIRS) == [Due(RECEIVER, B, Negotiation())]


def test_the_responders_cookie_may_be_unknown_to_a_sender_that_got_no_answer():
    failures = Failures()
    failures.failed(B, RECEIVER, IKE, Negotiation(), newly=True)
    assert failures.mended_there(B, OURS, bytes(8)) == [Due(RECEIVER, B, Negotiation())]


@pytest.mark.parametrize(
    ("partner", "initiator", "responder"), [(B, OTHER, THEIRS), (B, OURS, OTHER), (A, OURS, THEIRS)]
)
def test_a_wrong_cookie_or_partner_frees_nobody(partner, initiator, responder):
    failures = Failures()
    failures.failed(B, RECEIVER, IKE, Negotiation(), newly=True)
    assert failures.mended_there(partner, initiator, responder) is None
    assert failures.mended_there(B, OURS, THEIRS) == [Due(RECEIVER, B, Negotiation())]  # it waits still


def test_a_word_that_comes_before_the_cookies_are_known_counts_once_they_are():
    failures = Failures()
    failures.answered(B, OURS)
    failures.failed(B, RECEIVER, IKE, None, newly=True)
    assert failures.mended_there(B, OURS, THEIRS) == []
    assert failures.identified(IKE, Negotiation()) == [Due(RECEIVER, B, Negotiation())]
    assert failures.identified(IKE, Negotiation()) == []


def test_a_word_that_comes_before_the_failure_is_known_counts_once_it_is():
    failures = Failures()
    failures.answered(B, OURS)
    assert failures.mended_there(B, OURS, THEIRS) == []
    assert failures.failed(B, RECEIVER, IKE, Negotiation(), newly=True) == [Due(RECEIVER, B, Negotiation())]


def test_a_word_that_comes_too_early_counts_for_its_own_negotiation_only():
    failures = Failures()
    failures.answered(B, OURS)
    failures.answered(B, OTHER)
    assert failures.mended_there(B, OURS, OTHER) == []
    assert failures.failed(B, RECEIVER, IKE, Negotiation(), newly=True) == []  # another responder's cookie
    assert failures.failed(B, RECEIVER, IKE + 1, Negotiation(OTHER), newly=True) == []


def test_a_word_about_what_this_node_has_not_answered_is_refused():
    failures = Failures()
    failures.answered(A, OURS)
    assert failures.mended_there(B, OURS, THEIRS) is None
    assert failures.failed(B, RECEIVER, IKE, Negotiation(), newly=True) == []


def test_a_word_that_is_repeated_is_no_news():
    failures = Failures()
    failures.answered(B, OURS)
    failures.failed(B, RECEIVER, IKE, Negotiation(), newly=True)
    assert failures.mended_there(B, OURS, THEIRS) == [Due(RECEIVER, B, Negotiation())]
    assert failures.mended_there(B, OURS, THEIRS) == []


@pytest.mark.parametrize("side", Side)
def test_what_is_said_of_a_negotiation_after_the_repair_does_not_count(side):
    failures = Failures()
    failures.answered(B, OURS)
    failures.failed(B, side, IKE, Negotiation(), newly=True)
    assert not failures.is_settled(IKE, OURS)
    _ = failures.mended_here(B) if side is SENDER else failures.mended_there(B, OURS, THEIRS)
    assert failures.is_settled(IKE, None)
    assert failures.is_settled(None, OURS)
    assert not failures.is_settled(IKE + 1, OTHER)


def test_nothing_is_settled_by_what_is_unknown():
    failures = Failures()
    failures.failed(B, SENDER, None, None, newly=True)
    failures.mended_here(B)
    assert not failures.is_settled(None, None)


def test_the_first_failure_is_the_one_that_counts():
    failures = Failures()
    failures.failed(B, SENDER, IKE, Negotiation(), newly=True)
    failures.failed(B, SENDER, IKE + 1, Negotiation(OTHER), newly=False)
    assert failures.mended_here(B) == [Due(SENDER, B, Negotiation())]


def test_a_new_time_of_inactivity_is_of_its_own_negotiation():
    failures = Failures()
    failures.failed(B, SENDER, IKE, Negotiation(), newly=True)
    failures.failed(B, SENDER, IKE + 1, Negotiation(OTHER), newly=True)
    assert failures.mended_here(B) == [Due(SENDER, B, Negotiation(OTHER))]


def test_one_of_which_nothing_is_known_gives_way_to_one_that_is():
    failures = Failures()
    failures.failed(B, SENDER, None, None, newly=True)
    failures.failed(B, SENDER, IKE, Negotiation(), newly=False)
    assert failures.mended_here(B) == [Due(SENDER, B, Negotiation())]


def test_what_was_told_can_be_told_again_until_the_partner_has_heard_or_another_fails():
    failures = Failures()
    for end in (lambda: failures.succeeded(B), lambda: failures.failed(B, SENDER, 9, None, newly=True)):
        assert failures.told(B) is None
        failures.failed(B, SENDER, IKE, Negotiation(), newly=True)
        failures.mended_here(B)
        assert failures.told(B) == Negotiation()
        end()
    assert failures.told(B) is None


def test_the_sides_are_apart():
    failures = Failures()
    failures.failed(B, RECEIVER, IKE, Negotiation(), newly=True)
    assert failures.mended_here(B) == []
    failures.failed(B, SENDER, IKE + 1, Negotiation(OTHER), newly=True)
    assert failures.mended_there(B, OTHER, THEIRS) is None


def test_what_is_remembered_is_bounded():
    failures = Failures()
    for number in range(MOST + 1):
        cookie = number.to_bytes(8, "big")
        failures.answered(B, cookie)
        failures.failed(f"fd00::{number:x}", RECEIVER, number, Negotiation(cookie), newly=True)
    assert failures.mended_there("fd00::0", bytes(8), THEIRS) is None
    assert failures.mended_there("fd00::1", (1).to_bytes(8, "big"), THEIRS)
    assert failures.mended_there(B, bytes(8), THEIRS) is None  # an answer that is forgotten
    assert failures.mended_there(B, (2).to_bytes(8, "big"), THEIRS) == []


def test_a_failure_that_the_agent_told_of_ahead_of_the_log_is_the_next_one_that_the_log_tells_of():
    failures = Failures()
    failures.ahead(B, IKE)
    assert not failures.heard(IKE + 1)
    assert failures.heard(IKE)
    assert not failures.heard(IKE)


def test_a_success_heard_of_before_the_failure_that_was_told_ahead_of_the_log_is_the_older():
    failures = Failures()
    assert not failures.is_older(B, IKE)
    failures.ahead(B, IKE)
    assert failures.is_older(B, IKE)
    assert failures.is_older(B, IKE - 1)
    assert not failures.is_older(A, IKE)


def test_a_success_in_an_ike_sa_begun_later_is_the_newer():
    failures = Failures()
    failures.ahead(B, IKE)
    assert not failures.is_older(B, IKE + 1)


def test_once_the_log_has_told_of_the_failure_what_succeeds_is_newer():
    failures = Failures()
    failures.ahead(B, IKE)
    failures.heard(IKE)
    assert not failures.is_older(B, IKE)
