"""An impairment in the words of tc-netem(8), and what it may be."""

import msgspec
import pytest

from nodes.impairment import Impairment, netem


def test_an_impairment_in_netems_words():
    everything = Impairment(loss=0.015, delay=0.02, jitter=0.0025, reorder=0.25, rate=10_000_000)
    assert " ".join(netem(everything)) == (
        "netem limit 100000 delay 20000us 2500us loss random 1.500000% reorder 25.000000% rate 10000000bit"
    )
    assert " ".join(netem(Impairment(loss=1))) == "netem limit 100000 loss random 100.000000%"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "needs a loss, a delay or a rate"),
        ({"jitter": 0.1, "loss": 0.1}, "jitter and reorder need a delay"),
        ({"reorder": 0.1, "loss": 0.1}, "jitter and reorder need a delay"),
        ({"loss": 1.1}, r"<= 1.*\$\.loss"),
        ({"delay": -1}, r">= 0.*\$\.delay"),
        ({"rate": 5}, r">= 1000.*\$\.rate"),
        ({"lost": 1}, "unknown field `lost`"),
    ],
)
def test_what_is_no_impairment_is_refused(values, said):
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(values, Impairment)
