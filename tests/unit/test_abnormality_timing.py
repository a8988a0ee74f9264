"""The set times of method 2: what they are after repetitions, and what is no time."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import errors
from nodes.abnormality.model import AbnormalityOptions, Activate, Configure
from nodes.abnormality.timing import CEILING, LONGEST, STEEPEST, Timing
from nodes.peer.options import peer_options

SECONDS = st.floats(min_value=0.001, max_value=LONGEST)


def test_without_growth_each_repetition_takes_the_set_time():
    timing = Timing(t1=10, t2=20)
    assert [timing.receiver(n) for n in (1, 2, 50)] == [10, 10, 10]
    assert [timing.sender(n) for n in (1, 2, 50)] == [20, 20, 20]


def test_times_grow_by_the_factor_up_to_the_ceiling():
    timing = Timing(t1=10, t2=20, growth=3, ceiling=100)
    assert [timing.receiver(n) for n in (1, 2, 3, 4)] == [10, 30, 90, 100]
    assert [timing.sender(n) for n in (1, 2, 3)] == [20, 60, 100]


def test_without_a_ceiling_an_hour_is_the_most_or_the_longer_time_if_that_is_more():
    assert Timing(t1=10, t2=20, growth=10).sender(9) == CEILING
    assert Timing(t1=10, t2=7200, growth=10).sender(9) == 7200


@given(SECONDS, SECONDS, st.floats(min_value=1, max_value=STEEPEST), st.integers(1, 10**9))
def test_a_time_is_never_below_the_set_one_nor_above_the_ceiling(t1, t2, growth, repetition):
    timing = Timing(t1=t1, t2=t2, growth=growth)
    for grown, least in ((timing.receiver(repetition), t1), (timing.sender(repetition), t2)):
        assert least <= grown * (1 + 1e-9)
        assert grown <= timing.most


@pytest.mark.parametrize("value", [0, -1, -0.001, math.nan, math.inf, -math.inf, LONGEST + 1, 1e300])
@pytest.mark.parametrize("name", ["t1", "t2"])
def test_what_is_no_time_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*more than 0 and at most 86400 s, a day"):
        Timing(**{name: value})


@pytest.mark.parametrize("growth", [0.99, 0, -1, STEEPEST + 1, math.nan, math.inf])
def test_a_growth_that_shrinks_or_leaps_is_refused(growth):
    with pytest.raises(ValueError, match="growth is"):
        Timing(growth=growth)


@pytest.mark.parametrize("ceiling", [29, 0, -1, LONGEST + 1, math.nan])
def test_a_ceiling_below_a_set_time_or_above_a_day_is_refused(ceiling):
    with pytest.raises(ValueError, match="ceiling is .* at least 30 s"):
        Timing(t1=10, t2=30, ceiling=ceiling)


def test_a_sender_that_tries_before_the_receiver_listens_is_warned_of():
    (warning,) = Timing(t1=30, t2=10).warnings()
    assert "t2 (10 s) is shorter than t1 (30 s)" in warning
    assert "retransmits into silence" in warning
    assert Timing(t1=30, t2=30).warnings() == ()


def test_what_is_left_out_of_a_configuration_stays():
    asked = Configure(t2=50, growth=2)
    assert asked.applied_to(Timing(t1=7, t2=8, ceiling=60)) == Timing(t1=7, t2=50, growth=2, ceiling=60)
    with pytest.raises(ValueError, match="ceiling is 60 s"):
        Configure(t1=70).applied_to(Timing(t1=7, t2=8, ceiling=60))


@pytest.mark.parametrize("partner", ["peer-b", "", "10.0.0.1", "::", "::1", "ff02::1", "fd00::/64"])
@pytest.mark.parametrize("type_", [Configure, Activate])
def test_a_partner_that_can_be_none_is_refused(type_, partner):
    with pytest.raises(ValueError, match="partner .* is no"):
        type_(partner=partner)


def test_handling_is_not_one_partners():
    with pytest.raises(ValueError, match="handling is a node's"):
        Configure(handling="on", partner="fd00::1")


def test_a_peer_is_told_by_its_options():
    told = peer_options({"abnormality": {"handling": "on", "t1": 5, "t2": 6, "growth": 2, "ceiling": 60}})
    assert told.abnormality == AbnormalityOptions(handling="on", t1=5, t2=6, growth=2, ceiling=60)
    assert told.abnormality.timing == Timing(t1=5, t2=6, growth=2, ceiling=60)
    assert peer_options({}).abnormality.handling == "off"


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"t1": 0}, "t1 is 0 s"),
        ({"t2": -3}, "t2 is -3 s"),
        ({"t1": 1e9}, "t1 is 1e\\+09 s"),
        ({"handling": "maybe"}, "handling"),
        ({"t3": 1}, "t3"),
    ],
)
def test_an_option_that_is_wrong_is_refused_before_anything_starts(option, why):
    with pytest.raises(errors.UsageError, match=f"x-hopbed of a peer: .*{why}"):
        peer_options({"abnormality": option})


def test_a_configuration_crosses_the_control_channel_checked():
    with pytest.raises(msgspec.ValidationError, match="partner"):
        msgspec.json.decode(b'{"partner": "nobody"}', type=Configure)
