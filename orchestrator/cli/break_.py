"""The verb ``break``: an abnormal IKE negotiation in a run that is up."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import anyio
import click

from nodes import errors
from nodes.flood.start import MAX_COUNT, MAX_RATE
from orchestrator.breaking import CONNECTION, Breakage, Kind, Side, clear, kind_of, mend, side_of
from orchestrator.breaking.kinds import KINDS
from orchestrator.cli.console import progress
from orchestrator.cli.execute import execute
from orchestrator.cli.options import run_option
from orchestrator.flood import flood
from orchestrator.retrying import Retrying
from orchestrator.runtimes.choose import find_run, runtime_type
from orchestrator.testbed import Testbed, attach
from orchestrator.topology.plan import RoleName, RunPlan
from orchestrator.tunnel import Settings

REPAIR = "repair"


@click.command(name="break", epilog=f"KIND is {', '.join(KINDS)}, or {REPAIR}.")
@click.argument("node")
@click.argument("kind")
@click.option("--partner", help="The peer at the other end [default: the first other one].")
@click.option("--ike", type=click.Choice(("1", "2")), default="2", show_default=True, help="Version of IKE.")
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    help="Try to negotiate again and again with this period in seconds, until Ctrl-C.",
)
@click.option(
    "--rate", type=click.IntRange(1, MAX_RATE), default=2000, show_default=True, help="Of a flood, a second."
)
@click.option(
    "--count",
    type=click.IntRange(1, MAX_COUNT),
    default=20_000,
    show_default=True,
    help="Of a flood, in all.",
)
@run_option
def break_(
    node: str,
    kind: str,
    partner: str | None,
    ike: str,
    every: float | None,
    rate: int,
    count: int,
    run_id: str | None,
) -> None:
    """Let negotiations with NODE be abnormal in KIND, or repair them.

    NODE is the end at which it is wrong: whose configuration is, whose messages are changed on the wire, that
    does not know its partner, is dead, or is flooded. A configuration, and a dead peer, stay so until
    `hopbed break NODE repair`; what happens on the wire lasts until Ctrl-C.
    """

    async def verb() -> None:
        wanted = None if kind == REPAIR else kind_of(kind)
        run = await find_run(run_id)
        other = _partner(run.plan, node, partner)
        version: Literal[1, 2] = 1 if ike == "1" else 2
        settings = Settings(version=version, child_rekey_time=0, ike_rekey_time=0)
        async with attach(run.run_id, runtime_type(run.runtime)) as bed:
            with progress(bed.events):
                if wanted is None:
                    await _repair(bed, node, other, settings)
                    return
                ends = (node, other) if side_of(wanted) is Side.SENDER else (other, node)
                breakage = Breakage.of(bed.plan, *ends, wanted, settings)
                await _break(bed, breakage, every, rate, count)

    execute(verb)


def _partner(plan: RunPlan, node: str, partner: str | None) -> str:
    """The peer at the other end.

    Raises:
        UsageError: a node is not there, or is no peer, or both are one.
    """
    peers = [one.name for one in plan.nodes if one.role is RoleName.PEER]
    for name in (node, partner):
        known = next((one for one in plan.nodes if one.name == name), None)
        if name is not None and known is None:
            there = ", ".join(one.name for one in plan.nodes)
            raise errors.UsageError(f"no node {name!r} in run {plan.run_id}; there are {there}")
        if known is not None and name not in peers:
            raise errors.UsageError(f"{name} is a {known.role}, not a peer; peers are {', '.join(peers)}")
    if partner == node:
        raise errors.UsageError(f"{node} cannot negotiate with itself")
    others = [name for name in peers if name != node]
    if not others:
        raise errors.UsageError(f"run {plan.run_id} has no other peer than {node}")
    return partner or others[0]


async def _break(bed: Testbed, breakage: Breakage, every: float | None, rate: int, count: int) -> None:
    await clear(bed, breakage.sender, breakage.receiver)
    async with _made(bed, breakage, rate, count):
        mending = f"`hopbed break {_wrong(breakage)} {REPAIR}`" if breakage.is_left else "Ctrl-C"
        between = f"{breakage.kind} between {breakage.sender} and {breakage.receiver}"
        click.echo(f"{between}; {mending} mends it", err=True)
        if every is not None:
            peer = bed.node(breakage.sender).peer
            await Retrying(peer, breakage.sender, CONNECTION, every, bed.events).run()
            raise errors.NegotiationError(f"{breakage.kind}: the negotiation succeeded all the same")
        if not breakage.is_left:
            await anyio.sleep_forever()


def _wrong(breakage: Breakage) -> str:
    """The end at which it is wrong."""
    return breakage.sender if side_of(breakage.kind) is Side.SENDER else breakage.receiver


@asynccontextmanager
async def _made(bed: Testbed, breakage: Breakage, rate: int, count: int) -> AsyncIterator[None]:
    """It is so for the length of the context, or beyond."""
    if breakage.is_left:
        await breakage.make(bed)
        yield
        return
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(breakage.in_force(bed))
        if breakage.kind is Kind.THIRD_PARTY_FLOOD:
            version = breakage.right.initiator.version
            ends = (breakage.sender, breakage.receiver)
            third = next((one.name for one in bed.plan.nodes if one.name not in ends), None)
            if third is None:
                raise errors.UsageError(
                    f"run {bed.plan.run_id} has no third node that a flood could come from"
                )
            running = flood(bed, third, breakage.receiver, version=version, rate=rate, count=count, seed=0)
            await stack.enter_async_context(running)
        yield


async def _repair(bed: Testbed, node: str, partner: str, settings: Settings) -> None:
    await mend(bed, node, partner, settings)
    begin = anyio.current_time()
    initiated = await bed.node(node).peer.initiate(CONNECTION, timeout=60)
    click.echo(
        f"{node} and {partner} agree again: {initiated.child.encryption} after "
        f"{anyio.current_time() - begin:.2f} s"
    )
