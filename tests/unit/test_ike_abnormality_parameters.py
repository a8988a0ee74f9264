"""What ike-abnormality can be told; what is out of range is one error before anything starts."""

import pytest

from nodes import errors
from orchestrator.scenarios.ike_abnormality import SCENARIO


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["kind=pks"], "kind=pks: input should be 'ike-proposal'"),
        (["t1=0"], "t1=0: input should be greater than 0"),
        (["t2=-30"], "t2=-30: input should be greater than 0"),
        (["t1=1e9"], "t1=1e9: input should be less than or equal to 86400"),
        (["t1=nan"], "t1=nan: input should be"),
        (["t2=soon"], "t2=soon: input should be a valid number"),
        (["growth=0.5"], "growth=0.5: input should be greater than or equal to 1"),
        (["ike=3"], "ike=3: input should be '1' or '2'"),
        (["handling=maybe"], "handling=maybe: input should be 'off' or 'on'"),
        (["sender=racoon"], "sender=racoon: input should be 'strongswan' or 'hopbed'"),
        (["activate=true", "repair=false"], "activate=true goes with repair=true"),
        (["kind=third-party-flood", "established=true"], "established=true is for the other kinds"),
        (["partner=host"], "there is no parameter 'partner'"),
    ],
)
def test_what_is_out_of_range_is_refused(words, told):
    with pytest.raises(errors.ParameterError) as refused:
        SCENARIO.parse(words)
    assert told in str(refused.value)


def test_t2_below_t1_warns_with_the_reason():
    (warning,) = SCENARIO.warnings(SCENARIO.parse(["handling=on", "t1=30", "t2=10"]))
    assert "t2 (10 s) is shorter than t1 (30 s)" in warning
    assert "retransmits into silence" in warning


@pytest.mark.parametrize("words", [["handling=on"], ["handling=off", "t1=30", "t2=10"]])
def test_what_is_as_it_should_be_warns_of_nothing(words):
    assert not SCENARIO.warnings(SCENARIO.parse(words))


def test_a_third_node_is_there_for_a_flood_alone():
    assert SCENARIO.cast_of(SCENARIO.parse([])).nodes == ("peer-a", "peer-b")
    assert SCENARIO.cast_of(SCENARIO.parse(["kind=third-party-flood"])).nodes == ("peer-a", "peer-b", "host")


def test_the_peers_are_told_of_their_timers_and_of_the_handling_if_it_is_on():
    told = SCENARIO.settings(SCENARIO.parse(["handling=on", "t1=5", "t2=6", "growth=2"]))
    assert told["peer-a"] == told["peer-b"]
    assert told["peer-a"]["retransmit_tries"] == 4
    assert told["peer-a"]["abnormality"] == {"handling": "on", "t1": 5.0, "t2": 6.0, "growth": 2.0}
    assert SCENARIO.settings(SCENARIO.parse(["timers=default"])) == {"peer-a": {}, "peer-b": {}}
