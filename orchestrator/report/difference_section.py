"""A beside B: what was run differently, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.evidence.read import ReadEvidence
from orchestrator.report.markup import Markup, join, tag, text, words
from orchestrator.report.verdict_section import outcome_badge, table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of both sides; ``unit`` stands behind each value, and numbers have a difference."""

    name: str
    a: float | int | str | None
    b: float | int | str | None
    unit: str = ""


def differences(
    sides: Sequence[tuple[str, ReadEvidence, Mapping[str, Any]]], figures: Iterable[Figure]
) -> Markup:
    """The two runs in one table.

    Args:
        sides: of both, the label, the evidence, and what :func:`~orchestrator.report.side.side` says of it.
        figures: more of them, such as medians of several runs; they stand first.
    """
    (label_a, a, values_a), (label_b, b, values_b) = sides
    rows = [_row(figure) for figure in figures]
    rows.append(_outcomes(a, b))
    rows += [_row(figure) for figure in _changed(a, b)]
    rows += [_row(figure) for figure in _flows(values_a["flows"], values_b["flows"])]
    columns = ("", f"A: {label_a}", f"B: {label_b}", "Difference, B − A")
    return table(columns, rows, numeric=(1, 2, 3))


def _outcomes(a: ReadEvidence, b: ReadEvidence) -> Markup:
    outcomes = ["none" if one.verdict is None else one.verdict.outcome.value for one in (a, b)]
    cells = [
        tag("td", outcome_badge(outcome), class_="num", data_label=side)
        for outcome, side in zip(outcomes, "AB", strict=True)
    ]
    return tag("tr", tag("th", "verdict", scope="row"), *cells, tag("td"))


def _changed(a: ReadEvidence, b: ReadEvidence) -> list[Figure]:
    """The parameters and versions that are not the same on both sides."""
    scenarios = ({"scenario": a.run.scenario}, {"scenario": b.run.scenario})
    both = (scenarios, (a.run.parameters, b.run.parameters), (a.run.versions, b.run.versions))
    return [
        Figure(name=name, a=_plain(first.get(name)), b=_plain(second.get(name)))
        for first, second in both
        for name in {**first, **second}
        if first.get(name) != second.get(name)
    ]


def _plain(value: Any) -> str | None:
    return None if value is None else words(value)


def _flows(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> list[Figure]:
    by_name = [{flow["name"]: flow for flow in flows} for flows in (a, b)]
    names = [*by_name[0], *(name for name in by_name[1] if name not in by_name[0])]
    found = []
    for name in names:
        first, second = (flows.get(name) for flows in by_name)
        for what, field, unit in (
            ("lost", "lostTotal", ""),
            ("interruptions", "total", ""),
            ("longest gap", "longest", " ms"),
        ):
            values = [None if flow is None else flow[field] for flow in (first, second)]
            found.append(Figure(name=f"{what} on {name}", a=values[0], b=values[1], unit=unit))
        delays = [
            None if flow is None or flow["delay"] is None else flow["delay"][0] for flow in (first, second)
        ]
        found.append(Figure(name=f"median delay of {name}", a=delays[0], b=delays[1], unit=" ms"))
    return found


def _row(figure: Figure) -> Markup:
    a, b = figure.a, figure.b
    difference = ""
    if isinstance(a, int | float) and isinstance(b, int | float):
        difference = f"{_number(b - a, sign=True)}{figure.unit}" if a != b else "none"
    return tag(
        "tr",
        tag("th", figure.name, scope="row"),
        tag("td", _shown(a, figure.unit), class_="num", data_label="A"),
        tag("td", _shown(b, figure.unit), class_="num", data_label="B"),
        tag("td", difference, class_="num", data_label="difference"),
    )


def _shown(value: float | str | None, unit: str) -> Markup:
    if value is None:
        return text("–")
    return text(value) if isinstance(value, str) else join(_number(value), unit)


def _number(value: float, *, sign: bool = False) -> str:
    form = f"{'+' if sign else ''},{'d' if isinstance(value, int) else '.2f'}"
    return format(value, form).replace("-", "−")
