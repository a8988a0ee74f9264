"""The anti-replay window against a model that remembers everything."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.esp.replay import ReplayedError, ReplayWindow

LOW = (1 << 32) - 1


def taken(window, sequence):
    """Whether an authentic packet with this number is taken."""
    try:
        candidate = window.candidate(sequence & LOW)
    except ReplayedError:
        return False
    if candidate != sequence:
        return False  # the tag would not fit
    window.accept(candidate)
    return True


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), max_size=200), st.sampled_from([64, 96, 128]))
def test_a_number_is_taken_once_unless_it_is_too_old(numbers, size):
    window, seen = ReplayWindow(size, esn=False), set()
    for number in numbers:
        expected = number > 0 and number not in seen and number > max(seen, default=0) - size
        assert taken(window, number) == expected
        if expected:
            seen.add(number)


@settings(deadline=None)
@given(st.integers(1, 1 << 40), st.lists(st.integers(-200, 200), max_size=200))
def test_extended_numbers_are_found_near_the_window(start, steps):
    window, seen, highest = ReplayWindow(64, esn=True), set(), start
    window.accept(start)
    seen.add(start)
    for step in steps:
        number = highest + step
        expected = number > 0 and number not in seen and number > highest - 64
        if number <= 0:
            continue
        assert taken(window, number) == expected
        if expected:
            seen.add(number)
            highest = max(highest, number)


@settings(deadline=None)
@given(st.integers(0, LOW), st.integers(0, 1 << 50))
def test_whatever_number_comes_the_window_answers(low, highest):
    window = ReplayWindow(64, esn=True)
    if highest:
        window.accept(highest)
    try:
        candidate = window.candidate(low)
    except ReplayedError:
        return
    assert candidate > 0
    assert candidate & LOW == low
    assert abs(candidate - highest) <= 1 << 32


@pytest.mark.parametrize("esn", [False, True])
def test_zero_is_no_number(esn):
    with pytest.raises(ReplayedError):
        ReplayWindow(64, esn=esn).candidate(0)


def test_to_ask_moves_nothing():
    window = ReplayWindow(64, esn=False)
    assert [window.candidate(9) for _ in range(3)] == [9, 9, 9]
    assert window.highest == 0
