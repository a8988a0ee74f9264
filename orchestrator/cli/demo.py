"""The verb ``demo``: the stories, one after another, with one page for all."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.table import Table

from orchestrator.cli.asked import Words
from orchestrator.cli.console import output, progress_sink
from orchestrator.cli.execute import execute
from orchestrator.cli.options import evidence_folder, json_option, out_option, testbed_options
from orchestrator.cli.show import show_outcome
from orchestrator.evidence.verdict import Outcome
from orchestrator.report.write import REPORT
from orchestrator.scenarios.demo import Demo, play_stories
from orchestrator.scenarios.stories import find


@click.command()
@click.argument("stories", nargs=-1)
@testbed_options
@out_option
@json_option
def demo(
    stories: tuple[str, ...],
    file: Path,
    runtime: str,
    dad: str,
    dataplane: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Tell the STORIES of Hopbed, all of them by default, each measured, and write one page for them."""

    async def verb() -> int:
        chosen = find(stories)
        words = Words(
            given=(),
            faults=(),
            impairments=(),
            seed=None,
            file=file,
            runtime=runtime,
            dad=dad,
            dataplane=dataplane,
            keys=False,
        )
        folder = evidence_folder(out, "demo")
        with progress_sink(quiet=as_json) as sink:
            told = await play_stories(chosen, words.run, folder, sink)
        if as_json:
            click.echo(msgspec.json.encode(told))
        else:
            _show(told, folder)
        return 0 if told.outcome is Outcome.PASS else 1

    execute(verb)


def _show(demo: Demo, out: Path) -> None:
    console = output()
    for story in demo.stories:
        table = Table(box=None, pad_edge=False, show_header=False, title_justify="left")
        table.title = story.name
        for figure in story.figures:
            name = f"  {figure.name}, {figure.unit}" if figure.unit else f"  {figure.name}"
            table.add_row(name, " · ".join(f"{side} {value:g}" for side, value in figure.values.items()))
        console.print(table)
        show_outcome(console, "  verdict", story.outcome, story.error)
    show_outcome(console, "verdict", demo.outcome, "")
    console.print(f"report: {out / REPORT}", soft_wrap=True)
