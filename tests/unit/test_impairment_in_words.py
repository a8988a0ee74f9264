"""An impairment as a person writes it."""

import pytest

from nodes.errors import ParameterError
from nodes.impairment import Impairment
from orchestrator.impairment_words import parse

NODES = ("peer-a", "peer-b")


def test_every_word_is_understood():
    node, found = parse("peer-a loss=1.5% delay=20ms jitter=2500us reorder=25% rate=10mbit", NODES)
    assert node == "peer-a"
    assert (found.loss, found.reorder, found.rate) == (pytest.approx(0.015), 0.25, 10_000_000)
    assert (found.delay, found.jitter) == (pytest.approx(0.02), pytest.approx(0.0025))


def test_what_is_left_out_is_not_impaired():
    assert parse("peer-b delay=1s", NODES) == ("peer-b", Impairment(delay=1.0))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no node ''; there are peer-a, peer-b"),
        ("peer-c loss=1%", "no node 'peer-c'"),
        ("peer-a", "needs a loss, a delay or a rate"),
        ("peer-a lost=1%", "'lost=1%' is none of loss, reorder, delay, jitter, rate"),
        ("peer-a loss=1", "loss=1 wants a number with %, such as loss=10%"),
        ("peer-a delay=20", "delay=20 wants a number with ms or s or us"),
        ("peer-a delay=-2ms", "delay=-2ms wants a number"),
        ("peer-a rate=fast", "rate=fast wants a number with bit"),
        ("peer-a loss=1% loss=2%", "loss is given twice"),
        ("peer-a loss=101%", "<= 1"),
        ("peer-a loss=1% jitter=1ms", "jitter and reorder need a delay"),
    ],
)
def test_what_is_none_is_refused_with_the_word(text, said):
    with pytest.raises(ParameterError) as caught:
        parse(text, NODES)
    assert said in str(caught.value)
