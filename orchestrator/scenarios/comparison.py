"""A beside B: the figures of several runs of a scenario that differ in one parameter. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from orchestrator.evidence.verdict import Outcome, Verdict

SCHEMA: Final = "hopbed.comparison/1"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure on every side.

    Attributes:
        name: what was measured, such as ``lost on udp-a-b``.
        unit: ``packets``, ``ms`` or empty.
        values: each run's, by side, in the order of the runs.
        medians: by side.
        differences: each side's median less that of the first side.
    """

    name: str
    unit: str
    values: dict[str, list[float]]
    medians: dict[str, float]
    differences: dict[str, float]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one scenario that differ in the parameter ``vary``; ``runs`` are evidence folders by side."""

    schema: str = SCHEMA
    scenario: str
    vary: str
    sides: list[str]
    runs: dict[str, list[str]]
    outcomes: dict[str, list[str]]
    figures: list[Figure]

    @property
    def is_conclusive(self) -> bool:
        """Whether every run got to its end with evidence that bears a verdict."""
        bad = {Outcome.ERROR.value, Outcome.INCONCLUSIVE.value}
        return not any(outcome in bad for outcomes in self.outcomes.values() for outcome in outcomes)


def figures_of(verdict: Verdict) -> dict[tuple[str, str], float]:
    """The figures of one run by name and unit: each flow's, and every check that measured a number."""
    figures: dict[tuple[str, str], float] = {}
    for flow in verdict.flows:
        figures[f"lost on {flow.name}", "packets"] = flow.lost
        figures[f"longest gap on {flow.name}", "ms"] = flow.longest_gap_ms
        figures[f"interruptions on {flow.name}", ""] = len(flow.interruptions)
    for check in verdict.checks:
        if isinstance(check.measured, int | float) and not isinstance(check.measured, bool):
            figures[check.name, ""] = check.measured
    return figures


def compare(
    scenario: str, vary: str, verdicts: Mapping[str, Sequence[Verdict]], runs: Mapping[str, Sequence[str]]
) -> Comparison:
    """Compare the sides, in their order; a figure that a run does not have is left out for that run."""
    measured = {side: [figures_of(verdict) for verdict in those] for side, those in verdicts.items()}
    names = dict.fromkeys(name for those in measured.values() for figures in those for name in figures)
    return Comparison(
        scenario=scenario,
        vary=vary,
        sides=list(verdicts),
        runs={side: list(those) for side, those in runs.items()},
        outcomes={side: [verdict.outcome.value for verdict in those] for side, those in verdicts.items()},
        figures=[_figure(name, unit, measured) for name, unit in names],
    )


def _figure(name: str, unit: str, measured: Mapping[str, Sequence[Mapping[Any, float]]]) -> Figure:
    values = {
        side: [figures[name, unit] for figures in those if (name, unit) in figures]
        for side, those in measured.items()
    }
    medians = {side: float(statistics.median(those)) for side, those in values.items() if those}
    first = next(iter(medians.values()), 0.0)
    return Figure(
        name=name,
        unit=unit,
        values=values,
        medians=medians,
        differences={side: median - first for side, median in medians.items()},
    )
