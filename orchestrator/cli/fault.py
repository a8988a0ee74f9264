"""The verb ``fault``: faults on the IKE messages of a run that is up."""

from __future__ import annotations

import click

from nodes import errors
from orchestrator.cli.console import progress
from orchestrator.cli.execute import execute
from orchestrator.cli.options import run_option
from orchestrator.faults import check_rules, faults
from orchestrator.faults.rules import Ends
from orchestrator.runtimes.choose import find_run, runtime_type
from orchestrator.testbed import attach
from orchestrator.topology.plan import RunPlan


@click.group()
def fault() -> None:
    """Drop, delay, duplicate, corrupt, replay or hold IKE messages of a run that is up."""


@fault.command()
@click.argument("rules", nargs=-1, required=True, metavar="RULE...")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Where open choices come from."
)
@run_option
def add(rules: tuple[str, ...], seed: int, run_id: str | None) -> None:
    """Put faults in force until Ctrl-C, and say when each acts.

    A rule is such as "drop quick-mode 3 from peer-a"; docs/faults.md has the grammar.
    """

    async def verb() -> None:
        run = await find_run(run_id)
        ends = _ends(run.plan)
        check_rules(rules, [node.name for node in run.plan.nodes], ends)
        async with attach(run.run_id, runtime_type(run.runtime)) as bed:
            with progress(bed.events):
                async with faults(bed.runtime, rules, bed.events, ends=ends, seed=seed):
                    click.echo(f"{len(rules)} in force in run {run.run_id}; Ctrl-C ends them", err=True)
                    died = await bed.events.wait_for("fault.engine-died")
                    raise errors.NodeError(f"the fault engine of {died.node} died: {died.data['text']}")

    execute(verb)


def _ends(plan: RunPlan) -> Ends:
    """INITIATOR and RESPONDER: the first two nodes with a tunnel's end."""
    with_inner = [node.name for node in plan.nodes if node.inner is not None]
    if len(with_inner) < 2:
        raise errors.UsageError(f"run {plan.run_id} has no two nodes that speak IKE")
    return with_inner[0], with_inner[1]
