"""The verb ``hop``: one hop by hand, on a testbed that is up."""

from __future__ import annotations

import secrets

import click
import msgspec
from rich.table import Table

from nodes.terminal import model
from orchestrator.cli.console import output, progress
from orchestrator.cli.execute import execute
from orchestrator.cli.options import json_option, run_option
from orchestrator.runtimes.choose import find_run, runtime_type
from orchestrator.testbed import Testbed, attach
from orchestrator.topology.plan import RoleName


@click.command()
@click.argument("node")
@click.option(
    "--kind",
    type=click.Choice(["interface-id", "prefix", "both"]),
    default="interface-id",
    show_default=True,
    help="Which part of the address hops.",
)
@click.option(
    "--prefix", "prefixes", multiple=True, metavar="PREFIX", help="A prefix to hop to; again for more."
)
@click.option(
    "--carriage",
    type=click.Choice(["option", "udp"]),
    default="option",
    show_default=True,
    help="How messages travel.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 3600),
    default=30.0,
    show_default=True,
    help="Seconds it may take.",
)
@run_option
@json_option
def hop(
    node: str,
    kind: model.KindName,
    prefixes: tuple[str, ...],
    carriage: model.CarriageName,
    timeout: float,
    run_id: str | None,
    as_json: bool,
) -> None:
    """Let the address of terminal NODE hop, with the services that run over it.

    Terminals of the run that share no secret yet are given one.
    """

    async def verb() -> None:
        run = await find_run(run_id)
        run.plan.require(node)
        async with attach(run.run_id, runtime_type(run.runtime)) as bed:
            terminal = bed.node(node).terminal
            with progress(bed.events, quiet=as_json):
                await _pair(bed, node)
                asked = model.Hop(kind=kind, prefixes=prefixes, carriage=carriage, timeout=timeout)
                hopped = await terminal.hop(asked)
        if as_json:
            click.echo(msgspec.json.encode(hopped))
        else:
            _show(node, hopped)

    execute(verb)


async def _pair(bed: Testbed, node: str) -> None:
    """Give this terminal and each other one of the run a secret, where they have none."""
    terminal = bed.node(node).terminal
    known = {pair.partner for pair in (await terminal.status()).pairs}
    for other in bed.nodes.values():
        if other.plan.role is not RoleName.TERMINAL or other.name in {node, *known}:
            continue
        theirs = await other.terminal.status()
        secret = secrets.token_urlsafe(32)
        await other.terminal.pair(
            model.Pair(partner=node, secret=secret, addresses=(await _present(bed, node),))
        )
        present = _preferred(theirs) or other.address
        await terminal.pair(model.Pair(partner=other.name, secret=secret, addresses=(present,)))


async def _present(bed: Testbed, node: str) -> str:
    return _preferred(await bed.node(node).terminal.status()) or bed.node(node).address


def _preferred(status: model.Status) -> str | None:
    return next((one.address for one in status.addresses if one.state == "preferred"), None)


def _show(node: str, hopped: model.Hopped) -> None:
    console = output()
    console.print(f"{node}: {hopped.first} → {hopped.second}", highlight=False)
    table = Table(box=None, show_header=False, padding=(0, 2))
    for phase, reached_ms in hopped.phases_ms.items():
        table.add_row(phase, f"{reached_ms:.1f} ms")
    console.print(table)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in hopped.outcomes.items())
    console.print(f"services: {counts or 'none'}", highlight=False)
    if not hopped.retired:
        console.print(f"{hopped.first} stays until the services that could not leave it end")
