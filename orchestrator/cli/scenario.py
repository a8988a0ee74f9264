"""The verbs about scenarios: run and list."""

from __future__ import annotations

import dataclasses
import secrets
import time
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli.console import progress
from orchestrator.cli.execute import execute
from orchestrator.cli.options import json_option, testbed_options
from orchestrator.events import EventStream
from orchestrator.evidence.verdict import Outcome, Verdict, encode
from orchestrator.scenarios.catalogue import SCENARIOS, find
from orchestrator.scenarios.runner import Run
from orchestrator.scenarios.runner import run as run_scenario
from orchestrator.topology.plan import Dad, Dataplane

_STYLES = {Outcome.PASS: "bold green", Outcome.FAIL: "bold red"}


@click.command()
@click.argument("scenario")
@click.option(
    "-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="A parameter; again for more."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The evidence folder [default: one under evidence/]."
)
@click.option(
    "--seed", type=click.IntRange(0), help="Where every random choice comes from [default: a new one]."
)
@testbed_options
@json_option
def run(
    scenario: str,
    given: tuple[str, ...],
    out: Path | None,
    seed: int | None,
    file: Path,
    runtime: str,
    dad: str,
    dataplane: str,
    as_json: bool,
) -> None:
    """Run SCENARIO: bring up, act, measure, verdict, down."""

    async def verb() -> int:
        found = find(scenario)
        asked = Run(
            scenario=found,
            parameters=found.parse(given),
            out=out or Path("evidence") / f"{scenario}-{time.strftime('%Y%m%d-%H%M%S')}",
            seed=secrets.randbits(32) if seed is None else seed,
            command=(),
            file=file,
            runtime=runtime,
            dad=Dad(dad),
            dataplane=Dataplane(dataplane),
        )
        asked = _replayable(asked, given)
        events = EventStream()
        with progress(events, quiet=as_json):
            verdict = await run_scenario(asked, events)
        if as_json:
            click.echo(encode(verdict), nl=False)
        else:
            _show(verdict, asked.out)
        return 0 if verdict.outcome is Outcome.PASS else 1

    execute(verb)


def _replayable(asked: Run, given: tuple[str, ...]) -> Run:
    words = ["hopbed", "run", asked.scenario.name]
    for word in given:
        words += ["-p", word]
    words += ["--seed", str(asked.seed), "--file", str(asked.file), "--runtime", asked.runtime]
    words += ["--dad", asked.dad.value, "--dataplane", asked.dataplane.value]
    return dataclasses.replace(asked, command=tuple(words))


def _show(verdict: Verdict, out: Path) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False)
    for column in ("", "check", "expected", "measured"):
        table.add_column(column, overflow="fold")
    for check in verdict.checks:
        style = _STYLES.get(check.outcome, "bold yellow")
        table.add_row(
            Text(check.outcome.value, style), check.name, _words(check.expected), _words(check.measured)
        )
    console.print(table)
    carried = f"{verdict.runtime} runtime, {verdict.dataplane} data plane, {verdict.dad}"
    captured = f"{verdict.capture.packets} packets captured, {verdict.capture.dropped} dropped"
    style = _STYLES.get(verdict.outcome, "bold yellow")
    console.print(Text(f"verdict: {verdict.outcome.value}", style), f"({carried}; {captured})")
    console.print(f"report folder: {out}", soft_wrap=True, highlight=False)


def _words(value: Any) -> str:
    """A check's value for a person; ``verdict.json`` has it as it is."""
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return str(value)


@click.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List the scenarios with their parameters."""
    if as_json:
        click.echo(msgspec.json.encode([_described(name) for name in SCENARIOS]))
        return
    console = Console()
    for name in SCENARIOS:
        described = _described(name)
        console.print(Text(name, "bold"), described["summary"])
        table = Table(box=None, show_header=False, padding=(0, 2))
        for parameter in described["parameters"]:
            table.add_row(
                f"  -p {parameter['name']}={parameter['default']}",
                parameter["range"],
                parameter["description"],
            )
        console.print(table)


def _described(name: str) -> dict[str, Any]:
    scenario = SCENARIOS[name]
    schema = scenario.parameters.model_json_schema()["properties"]
    return {
        "name": name,
        "summary": scenario.summary,
        "nodes": list(scenario.nodes),
        "parameters": [
            {
                "name": parameter,
                "default": said.get("default"),
                "range": _range(said),
                "description": said.get("description", ""),
            }
            for parameter, said in schema.items()
        ],
    }


def _range(said: dict[str, Any]) -> str:
    """What a parameter may be, in words, from its JSON schema."""
    for choice in said.get("anyOf", [said]):
        if "enum" in choice:
            return " | ".join(choice["enum"])
        if choice.get("type") == "boolean":
            return "true | false"
        if "minimum" in choice or "maximum" in choice:
            return f"{choice.get('minimum', '')}…{choice.get('maximum', '')}"
    return str(said.get("type", ""))
