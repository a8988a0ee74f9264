"""The verb ``impair``: a bad link of a run that is up."""

from __future__ import annotations

import anyio
import click

from orchestrator.cli.console import progress
from orchestrator.cli.execute import execute
from orchestrator.cli.options import run_option
from orchestrator.impairment import impaired, link_down
from orchestrator.impairment_words import parse
from orchestrator.runtimes.choose import find_run, runtime_type
from orchestrator.testbed import attach

_DOWN = "down"


@click.command()
@click.argument("node")
@click.argument("words", nargs=-1, required=True)
@run_option
def impair(node: str, words: tuple[str, ...], run_id: str | None) -> None:
    """Impair all that NODE sends until Ctrl-C, or take its link down.

    WORDS are of loss=1% delay=20ms jitter=2ms reorder=25% rate=10mbit; or `down`.
    """

    async def verb() -> None:
        run = await find_run(run_id)
        names = [known.name for known in run.plan.nodes]
        run.plan.require(node)
        async with attach(run.run_id, runtime_type(run.runtime)) as bed:
            if words == (_DOWN,):
                bad_link = link_down(bed.runtime, node, bed.events.publish)
            else:
                _, impairment = parse(" ".join((node, *words)), names)
                bad_link = impaired(bed.runtime, node, impairment, bed.events.publish)
            with progress(bed.events):
                async with bad_link:
                    click.echo(f"in force at {node} of run {run.run_id}; Ctrl-C ends it", err=True)
                    await anyio.sleep_forever()

    execute(verb)
