"""The verb ``rekey``: SAs of a run that is up are rekeyed by hand."""

from __future__ import annotations

from typing import Literal

import click
import msgspec

from nodes import errors
from nodes.peer import model
from orchestrator.cli.console import output, progress
from orchestrator.cli.execute import execute
from orchestrator.cli.options import json_option, run_option
from orchestrator.peer import TunnelEnd
from orchestrator.runtimes.choose import find_run, runtime_type
from orchestrator.testbed import Testbed, attach
from orchestrator.tunnel import Settings, credentials, tunnel


@click.command()
@click.argument("node")
@click.option("--ike-sa", "of_ike", is_flag=True, help="The IKE SAs instead of their CHILD_SAs.")
@click.option("--connection", help="Only SAs of this connection.")
@click.option(
    "--with", "partner", metavar="PEER", help="Only SAs with this peer; where none is up, negotiate a tunnel."
)
@click.option(
    "--ike", type=click.Choice(("1", "2")), default="2", show_default=True, help="Version for such a tunnel."
)
@click.option("--pfs", is_flag=True, help="Such a tunnel's rekeys have a Diffie-Hellman exchange.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 3600),
    default=60.0,
    show_default=True,
    help="Seconds that one rekey may take.",
)
@run_option
@json_option
def rekey(
    node: str,
    of_ike: bool,
    connection: str | None,
    partner: str | None,
    ike: str,
    pfs: bool,
    timeout: float,
    run_id: str | None,
    as_json: bool,
) -> None:
    """Rekey the CHILD_SAs that are up at NODE, a peer or an endpoint, one after the other."""

    async def verb() -> None:
        run = await find_run(run_id)
        for name in (node, partner):
            if name is not None:
                run.plan.require(name)
        async with attach(run.run_id, runtime_type(run.runtime)) as bed:
            end = bed.node(node).tunnel_end
            remote = None if partner is None else str(bed.node(partner).plan.address.ip)
            with progress(bed.events, quiet=as_json):
                wanted = await _wanted(end, connection, remote, of_ike, timeout)
                if not wanted and partner is not None:
                    version: Literal[1, 2] = 1 if ike == "1" else 2
                    await _negotiate(bed, node, partner, Settings(version=version, pfs=pfs))
                    wanted = await _wanted(end, connection, remote, of_ike, timeout)
                if not wanted:
                    raise errors.UsageError(
                        f"no SA{f' of {connection}' if connection else ''} is up at {node}: "
                        f"`hopbed rekey {node} --with PEER` negotiates a tunnel first"
                    )
                rekeyed = [await end.rekey(selector) for selector in wanted]
        if as_json:
            click.echo(msgspec.json.encode(rekeyed))
            return
        for one in rekeyed:
            old, new = ("/".join(spis) for spis in (one.old_spis, one.new_spis))
            output().print(f"{node}: {one.kind} {one.name}, SPIs {old} → {new}", highlight=False)

    execute(verb)


async def _wanted(
    end: TunnelEnd, connection: str | None, remote: str | None, of_ike: bool, timeout: float
) -> list[model.Rekey]:
    """One selector for each SA that is meant."""
    found = [
        sa
        for sa in await end.list_sas()
        if sa.state == "ESTABLISHED" and connection in (None, sa.name) and remote in (None, sa.remote_address)
    ]
    if of_ike:
        return [model.Rekey(ike_id=sa.unique_id, timeout=timeout) for sa in found]
    return [
        model.Rekey(child_id=child.unique_id, timeout=timeout)
        for sa in found
        for child in sa.children
        if child.spi_in is not None and child.state in _UP
    ]


_UP = ("INSTALLED", "EFFECTIVE")
"""A CHILD_SA that carries traffic, in charon's words and in the endpoint's."""


async def _negotiate(bed: Testbed, node: str, partner: str, settings: Settings) -> None:
    ends, name = (node, partner), f"{node}-{partner}"
    both = tunnel(bed.plan, *ends, credentials(bed.plan, ends, "psk"), settings, name=name)
    await bed.node(partner).tunnel_end.load(both.responder)
    await bed.node(node).tunnel_end.load(both.initiator)
    await bed.node(node).tunnel_end.initiate(name)
