"""What the scenario address-hop takes, and what it refuses before anything starts."""

import pytest

from nodes import errors
from orchestrator.scenarios.catalogue import find


def parse(*words):
    return find("address-hop").parse(words)


def test_times_have_units():
    assert parse("period=50ms").period == pytest.approx(0.05)
    assert parse("delay=40ms").delay == pytest.approx(0.04)
    lifetimes = parse("preferred=2s", "valid=4")
    assert (lifetimes.preferred, lifetimes.valid, lifetimes.every, lifetimes.by_lifetimes) == (2, 4, 2, True)


def test_lists_are_words_and_none_is_empty():
    parameters = parse("applications=curl,ssh", "transports=udp")
    assert (parameters.applications, parameters.transports) == (("curl", "ssh"), ("udp",))
    assert parse("applications=none").applications == ()


def test_applications_outlast_the_hops():
    parameters = parse("hops=100", "period=100ms")
    assert parameters.hopping_seconds == pytest.approx(10)
    assert parameters.application_seconds > parameters.hopping_seconds


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("period=5xs",), "50ms"),
        (("period=1ms",), "period"),
        (("preferred=2",), "go together"),
        (("preferred=2", "valid=2"), "valid must be longer"),
        (("preferred=1500ms", "valid=4"), "whole seconds"),
        (("kind=ra",), "kind=ra needs preferred and valid"),
        (("period=100ms", "jitter=200ms"), "jitter"),
        (("side=both", "partner=legacy"), "side=both"),
        (("applications=telnet",), "telnet"),
        (("transports=none",), "nothing to look at"),
        (("mechanism=mptcp", "applications=curl"), "comparison"),
        (("mechanism=quic", "partner=silent"), "comparison"),
        (("plain=true", "partner=legacy"), "plain"),
        (("carriage=pigeon",), "carriage"),
    ],
)
def test_what_makes_no_sense_is_a_clear_error(words, text):
    with pytest.raises(errors.ParameterError, match="address-hop:.*" + text):
        parse(*words)


def test_values_survive_the_way_to_json_and_back():
    parameters = parse("applications=curl", "period=50ms", "hops=3")
    again = find("address-hop").validate(parameters.model_dump(mode="json"))
    assert again == parameters
