"""Whether a figure stays flat over the second half of a run: a slope, and what it comes to. No I/O.

The first half is left out: programs warm up, caches fill, pools reach their size. The slope of the second
half is Theil and Sen's, the median of the slopes between any two samples: up to 29 % of the samples may be
off by anything, as the moment of a rekey with both SAs or a command that runs just then, without moving it. A
leak moves all of them. What goes up and down by itself has a slope by chance, above all over few samples: so
a figure has grown only if Mann and Kendall's test, too, sees a trend.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.evidence.verdict import Check
from orchestrator.resources.series import EVENTS, MEMORY, ORCHESTRATOR, Key, Series

FEWEST = 8
"""Samples of a second half below which nothing can be said: six that all rise are no certain trend yet."""
COUNT = 1.0
"""What a count may grow by: less than one."""
MEMORY_KIB = 2048.0
"""What the memory of a program may grow by. Tables with a bound, such as the last thousand sources of
messages or the last two thousand exchanges, go on filling for half an hour, to about a MiB a program."""
ENOUGH = {MEMORY: 240.0, "nft elements": 120.0, "neighbours": 120.0}
"""Seconds of a second half, and so of the first, that tell what leaks from what warms up: elements and
neighbours have timeouts of up to a minute, and as many come as go only after that."""
EVENT_KIB = 4.0
"""What one event may cost the orchestrator, which keeps every event of a run for its evidence."""
CERTAIN = 3.0
"""Standard deviations of Mann and Kendall's statistic that make a trend: chance makes one in 740 series."""
_MOST = 400
"""Samples that enter the slope; of more, each n-th does: there are n² pairs."""


def slope(seconds: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> float:
    """The Theil–Sen slope, units a second; 0.0 for fewer than two samples.

    Source: P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, 1968.
    """
    step = -(-len(seconds) // _MOST) or 1
    seconds, values = seconds[::step], values[::step]
    first, second = np.triu_indices(len(seconds), k=1)
    apart = seconds[second] - seconds[first]
    rises = (values[second] - values[first])[apart > 0] / apart[apart > 0]
    return float(np.median(rises)) if len(rises) else 0.0


def trend(values: npt.NDArray[np.float64]) -> float:
    """How many standard deviations more pairs of samples rise than fall; negative where more fall.

    Source: H. B. Mann, Nonparametric tests against trend, 1945; without its correction for ties, which would
    only find more.
    """
    values = values[:: -(-len(values) // _MOST) or 1]
    number = len(values)
    first, second = np.triu_indices(number, k=1)
    rising = float(np.sign(values[second] - values[first]).sum())
    deviation = (number * (number - 1) * (2 * number + 5) / 18) ** 0.5
    return rising / deviation if deviation else 0.0


@dataclasses.dataclass(frozen=True)
class Growth:
    """How a series went in the second half of its samples.

    Attributes:
        level: the median there.
        grown: what the slope comes to over that half; negative where it fell.
        allowed: what passes.
        trend: how sure it is that it rose at all (:func:`trend`).
        seconds: how long that half is.
        samples: how many there are in it.
    """

    key: Key
    level: float
    grown: float
    allowed: float
    trend: float
    seconds: float
    samples: int

    @property
    def can_be_judged(self) -> bool:
        """Whether there are samples enough, over a time that is long enough."""
        return self.samples >= FEWEST and self.seconds >= ENOUGH.get(self.key.figure, 0.0)

    @property
    def is_flat(self) -> bool:
        """Whether it grew by less than what is allowed, or nothing says that it grew."""
        return self.grown < self.allowed or self.trend < CERTAIN


def growth(series: Series) -> Growth:
    """How a series went in its second half."""
    half = len(series.seconds) // 2
    seconds, values = series.seconds[half:], series.values[half:]
    lasted = float(seconds[-1] - seconds[0]) if len(seconds) else 0.0
    level = float(np.median(values)) if len(values) else 0.0
    allowed = MEMORY_KIB if series.key.figure == MEMORY else COUNT
    grown = slope(seconds, values) * lasted
    return Growth(series.key, level, grown, allowed, trend(values), lasted, len(seconds))


def flatness(all_series: Sequence[Series]) -> list[Check]:
    """A check for every figure over all programs and nodes, and one for the orchestrator's memory.

    A run that is too short for a figure reports it without judging.
    """
    kept = next((one for one in all_series if one.key == Key("", "", EVENTS)), None)
    by_figure: dict[str, list[Growth]] = {}
    own_memory: Series | None = None
    for series in all_series:
        if series.key == Key("", ORCHESTRATOR, MEMORY):
            own_memory = series
        elif series.key.figure != EVENTS:
            by_figure.setdefault(series.key.figure, []).append(growth(series))
    checks = [_check(figure, found) for figure, found in by_figure.items()]
    if own_memory is not None and kept is not None:
        checks.append(_orchestrator(own_memory, kept))
    return checks


def _check(figure: str, found: Sequence[Growth]) -> Check:
    judged = [one for one in found if one.can_be_judged]
    allowed = f"each by less than {MEMORY_KIB if figure == MEMORY else COUNT:g}"
    grown = [one for one in judged if not one.is_flat]
    most = max(found, key=lambda one: one.grown / one.allowed)
    measured: dict[str, Any] = {"series": len(found), "most": _in_words(most)}
    if judged and len(judged) < len(found):
        measured["too few samples"] = len(found) - len(judged)
    if grown:
        measured["grown"] = [_in_words(one) for one in sorted(grown, key=lambda one: -one.grown)[:8]]
    return Check.of(
        f"flat: {figure.replace('_kib', ', KiB')}",
        expected=f"{allowed} in the second half" if judged else "reported: too short a run to judge",
        measured=measured,
        passed=not grown,
    )


def _in_words(one: Growth) -> str:
    return f"{one.key}: {one.grown:+.1f} at {one.level:g}"


def _orchestrator(memory: Series, kept: Series) -> Check:
    """What the orchestrator's memory grows by with every event that it keeps."""
    seconds = float(memory.seconds[-1] - memory.seconds[0]) / 2
    half = len(kept.values) // 2
    an_event = slope(kept.values[half:], memory.values[half : len(kept.values)])
    judged = seconds >= ENOUGH[MEMORY]
    return Check.of(
        "memory of the orchestrator, KiB an event that it keeps",
        expected=f"at most {EVENT_KIB:g}" if judged else "reported: too short a run to judge",
        measured={
            "KiB an event": round(an_event, 2),
            "events": int(kept.values[-1]),
            "MiB at the end": round(float(memory.values[-1]) / 1024, 1),
        },
        passed=not judged or an_event <= EVENT_KIB,
    )
