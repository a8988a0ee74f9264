"""The verbs about scenarios: run, ab and list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.table import Table
from rich.text import Text

from orchestrator.cli.asked import Words
from orchestrator.cli.console import output, progress, progress_sink
from orchestrator.cli.execute import execute
from orchestrator.cli.options import evidence_folder, json_option, out_option
from orchestrator.cli.scenario_options import scenario_options
from orchestrator.cli.show import say_bundle, show_comparison, show_verdict
from orchestrator.events import EventStream
from orchestrator.evidence.verdict import Outcome, encode
from orchestrator.scenarios.ab import Vary, run_ab
from orchestrator.scenarios.catalogue import SCENARIOS
from orchestrator.scenarios.runner import Run
from orchestrator.scenarios.runner import run as run_scenario


@click.command()
@click.argument("scenario")
@scenario_options
@out_option
@json_option
def run(scenario: str, words: Words, out: Path | None, as_json: bool) -> None:
    """Run SCENARIO: bring up, act, measure, verdict, down."""

    async def verb() -> int:
        asked = words.run(scenario, evidence_folder(out, scenario))
        warn(asked)
        events = EventStream()
        try:
            with progress(events, quiet=as_json):
                verdict = await run_scenario(asked, events)
        finally:
            say_bundle(asked.out)
        if as_json:
            click.echo(encode(verdict), nl=False)
        else:
            show_verdict(verdict, asked.out)
        return 0 if verdict.outcome is Outcome.PASS else 1

    execute(verb)


@click.command()
@click.argument("scenario")
@click.option("--vary", required=True, metavar="NAME=A,B", help="The parameter that the sides differ in.")
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Runs of each side.")
@scenario_options
@out_option
@json_option
def ab(scenario: str, vary: str, repeat: int, words: Words, out: Path | None, as_json: bool) -> None:
    """Run SCENARIO with each value of a parameter, interleaved, and show A beside B."""

    async def verb() -> int:
        varied = Vary.parse(vary)
        folder = evidence_folder(out, f"ab-{scenario}")
        sides = {value: words.run(scenario, folder, f"{varied.parameter}={value}") for value in varied.values}
        warn(*sides.values())
        with progress_sink(quiet=as_json) as sink:
            comparison = await run_ab(sides, varied, repeat, folder, sink)
        if as_json:
            click.echo(msgspec.json.encode(comparison))
        else:
            show_comparison(comparison, folder)
        return 0 if comparison.is_conclusive else 1

    execute(verb)


def warn(*runs: Run) -> None:
    """Tell, before anything starts, what is allowed and yet hardly meant."""
    for text in dict.fromkeys(text for run in runs for text in run.scenario.warnings(run.parameters)):
        click.echo(f"hopbed: warning: {text}", err=True)


@click.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List the scenarios with their parameters."""
    if as_json:
        click.echo(msgspec.json.encode([_described(name) for name in SCENARIOS]))
        return
    console = output()
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
    whole = scenario.parameters.model_json_schema()
    schema = whole["properties"]
    named = {f"#/$defs/{name}": said for name, said in whole.get("$defs", {}).items()}
    return {
        "name": name,
        "summary": scenario.summary,
        "nodes": list(scenario.nodes),
        "parameters": [
            {
                "name": parameter,
                "default": said.get("default"),
                "range": _range(named.get(said.get("$ref"), said)),
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
