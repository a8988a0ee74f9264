"""Runs a scenario with each value of one parameter, both sides in one go, interleaved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from nodes import errors
from orchestrator.events import EventStream, Sink
from orchestrator.evidence.folder import require_empty, write_whole
from orchestrator.evidence.verdict import Verdict
from orchestrator.report import Figure
from orchestrator.report.write import REPORT, write_comparison
from orchestrator.scenarios.comparison import Comparison, compare
from orchestrator.scenarios.runner import Run, run

COMPARISON = "comparison.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vary:
    """The parameter that the sides differ in, and its values."""

    parameter: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, word: str) -> Vary:
        """From ``NAME=A,B``.

        Raises:
            ParameterError: it is not that, or has fewer than two different values.
        """
        parameter, equals, rest = word.partition("=")
        values = tuple(value.strip() for value in rest.split(","))
        if not equals or not parameter or not all(values):
            raise errors.ParameterError(f"{word!r} is not NAME=A,B")
        if len(values) < 2 or len(set(values)) < len(values):
            raise errors.ParameterError(f"{word!r}: two values or more are compared, each given once")
        return cls(parameter=parameter, values=values)


def order(values: Sequence[str], repeat: int) -> list[tuple[str, int]]:
    """Which side runs when: each round has every side once, and every second round goes backwards.

    So neither a machine that grows slower nor the place in a round favours a side.
    """
    return [
        (value, number)
        for number in range(repeat)
        for value in (values if number % 2 == 0 else tuple(reversed(values)))
    ]


async def run_ab(sides: Mapping[str, Run], vary: Vary, repeat: int, out: Path, sink: Sink) -> Comparison:
    """Run every side ``repeat`` times, and compare; the evidence of each run is in a folder below ``out``.

    Args:
        sides: what to run, by the parameter's value, each already checked.
        sink: gets the events of every run.

    Raises:
        UsageError: the folder is not empty; nothing was started.
        HopbedError: a run did not get to its end; what ran before it stays.
    """
    require_empty(out)
    verdicts: dict[str, list[Verdict]] = {value: [] for value in vary.values}
    folders: dict[str, list[str]] = {value: [] for value in vary.values}
    for value, number in order(vary.values, repeat):
        folder = f"{vary.parameter}-{_file_name(value)}-{number + 1}"
        events = EventStream()
        events.add_sink(sink)
        events.say("ab.side", parameter=vary.parameter, value=value, number=number + 1)
        verdicts[value].append(await run(dataclasses.replace(sides[value], out=out / folder), events))
        folders[value].append(folder)
    scenario = next(iter(sides.values())).scenario.name
    comparison = compare(scenario, vary.parameter, verdicts, folders)
    for other in vary.values[1:]:
        _write_report(out, comparison, vary.values[0], other)
    text = msgspec.json.format(msgspec.json.encode(comparison), indent=2) + b"\n"
    write_whole(out / COMPARISON, text)
    return comparison


def _write_report(out: Path, comparison: Comparison, first: str, other: str) -> None:
    """The page of two sides: their medians, and the first run of each; with more sides, a page a pair."""
    figures = [
        Figure(
            name=f"{figure.name}, median",
            a=_short(figure.medians.get(first)),
            b=_short(figure.medians.get(other)),
            unit=f" {figure.unit}" if figure.unit else "",
        )
        for figure in comparison.figures
        if max(map(len, figure.values.values())) > 1  # of one run each the page has the figures themselves
    ]
    name = REPORT if len(comparison.sides) == 2 else f"report-{_file_name(first)}-{_file_name(other)}.html"
    labels = (f"{comparison.vary}={first}", f"{comparison.vary}={other}")
    runs = comparison.runs
    write_comparison(out / name, out / runs[first][0], out / runs[other][0], labels=labels, figures=figures)


def _short(value: float | None) -> float | int | None:
    """A whole number as one: most figures are counts."""
    return int(value) if value is not None and value.is_integer() else value


def _file_name(value: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in value)
