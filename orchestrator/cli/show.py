"""What a person reads at the end: a verdict, or a comparison."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.bundle.bundle import BUNDLE
from orchestrator.cli.console import output
from orchestrator.evidence.verdict import Outcome, Verdict
from orchestrator.scenarios.comparison import Comparison

_SHORT = 100
"""Letters of a measured value that a passed check shows."""
_STYLES = {Outcome.PASS: "bold green", Outcome.FAIL: "bold red"}


def _styled(outcome: Outcome, text: str) -> Text:
    return Text(text, _STYLES.get(outcome, "bold yellow"))


def show_verdict(verdict: Verdict, out: Path) -> None:
    """Write a verdict's checks, its outcome, and where the evidence is."""
    console = output()
    table = Table(box=None, pad_edge=False)
    for column in ("", "check", "expected", "measured"):
        table.add_column(column, overflow="fold")
    for check in verdict.checks:
        outcome = _styled(check.outcome, check.outcome.value)
        measured = words(check.measured)
        if check.outcome is Outcome.PASS:  # all of it stands in the report
            measured = textwrap.shorten(measured, _SHORT, placeholder=" …")
        table.add_row(outcome, check.name, Text(words(check.expected)), Text(measured))
    console.print(table)
    carried = f"{verdict.runtime} runtime, {verdict.dataplane} data plane, {verdict.dad}"
    captured = f"{verdict.capture.packets} packets captured, {verdict.capture.dropped} dropped"
    console.print(
        _styled(verdict.outcome, f"verdict: {verdict.outcome.value}"),
        f"({carried}; {captured})",
        highlight=False,
    )
    console.print(f"report folder: {out}", soft_wrap=True)


def show_outcome(console: Console, name: str, outcome: Outcome, note: str) -> None:
    """Write an outcome in its colour, and what there is to say of it."""
    console.print(_styled(outcome, f"{name}: {outcome.value}"), Text(note), soft_wrap=True)


def say_bundle(out: Path) -> None:
    """Name the failure bundle where a run that did not pass left one; to standard error, beside its error."""
    if (out / BUNDLE).is_file():
        click.echo(f"for a bug report: {out / BUNDLE}", err=True)


def show_comparison(comparison: Comparison, out: Path) -> None:
    """Write the figures of every side beside each other."""
    console = output()
    first, *others = comparison.sides
    runs = max(len(those) for those in comparison.runs.values())
    table = Table(
        box=None, pad_edge=False, title=f"{comparison.scenario}: medians of {runs}", title_justify="left"
    )
    table.add_column("")
    for side in comparison.sides:
        table.add_column(f"{comparison.vary}={side}", justify="right")
    for side in others:
        table.add_column(f"{side} less {first}", justify="right")
    for figure in comparison.figures:
        name = f"{figure.name}, {figure.unit}" if figure.unit else figure.name
        medians = [_number(figure.medians.get(side)) for side in comparison.sides]
        table.add_row(name, *medians, *(_number(figure.differences.get(side), sign=True) for side in others))
    table.add_row("verdicts", *(", ".join(comparison.outcomes[side]) for side in comparison.sides))
    console.print(table)
    console.print(f"report folder: {out}", soft_wrap=True)


def _number(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.6g}" if sign else f"{value:.6g}"


def words(value: Any) -> str:
    """A check's value for a person; ``verdict.json`` has it as it is."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(words, value)) or "none"
    return str(value)
