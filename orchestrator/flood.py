"""A flood of forged first messages of IKE from a third node of a running testbed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import msgspec

from nodes.flood.start import Start
from orchestrator.breaking.misconfigured import subnet
from orchestrator.program import Program, run_program
from orchestrator.testbed import Testbed

SUBNET = 0xF10D
"""Of the run's site: where the forged addresses are from. It is behind the third node, as an attacker's
addresses are behind a router: on the bridge itself, each would cost the receiver a neighbour entry, of which
the kernel has 1,024 for all namespaces together (RFC 6583), and other runs would suffer."""
STARTED, ENDED = "flood.started", "flood.ended"


@asynccontextmanager
async def flood(
    bed: Testbed, source: str, destination: str, *, version: Literal[1, 2], rate: int, count: int, seed: int
) -> AsyncIterator[Program]:
    """Flood a node for the length of the context, or until ``count`` messages are sent.

    What the node answers goes to ``source``, which is deaf to it.

    Raises:
        NodeError: the program did not start.
    """
    prefix = subnet(bed.plan, SUBNET)
    start = Start(
        destination=bed.node(destination).address,
        prefix=str(prefix),
        version=version,
        rate=rate,
        count=count,
        seed=seed,
    )
    way = ["ip", "-6", "route", "replace", str(prefix), "via", bed.node(source).address]
    await bed.node(destination).exec(way)
    argv = [*bed.runtime.python, "-m", "nodes.flood", msgspec.json.encode(start).decode()]
    async with run_program(f"the flood of {source}", bed.runtime.command(source, argv)) as program:
        bed.events.say(STARTED, node=source, destination=destination, version=version, rate=rate, count=count)
        yield program
        done = await program.stop()
    bed.events.say(ENDED, node=source, **done.data)
