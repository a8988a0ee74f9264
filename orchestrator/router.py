"""A router on the bridge: a node that advertises prefixes, with lifetimes that a test chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec

from nodes import INTERFACE
from nodes.router_advertisements import INFINITE, Advertise, Prefix, Router
from orchestrator.node import Node
from orchestrator.program import Program, run_program
from orchestrator.runtimes.base import Runtime

__all__ = ["INFINITE", "Advertiser", "Prefix", "accept_advertisements", "advertising"]


class Advertiser:
    """A router that is at work."""

    def __init__(self, program: Program) -> None:
        self._program = program

    async def advertise(self, prefixes: Iterable[Prefix]) -> None:
        """Advertise these, and no others, at once and from now on."""
        await self._program.tell(Advertise(prefixes=tuple(prefixes)))


@asynccontextmanager
async def advertising(runtime: Runtime, node: Node, *, interval: float = 1.0) -> AsyncIterator[Advertiser]:
    """A router in ``node`` for the length of the context; it is silent until told what to advertise.

    Raises:
        ParameterError: the interval is out of range.
        NodeError: it did not start.
    """
    order = msgspec.json.encode(Router(interface=INTERFACE, interval=interval)).decode()
    argv = [*runtime.python, "-m", "nodes.router_advertisements", order]
    async with run_program(f"the router in {node.name}", runtime.command(node.name, argv)) as program:
        yield Advertiser(program)


async def accept_advertisements(node: Node) -> None:
    """Let a terminal take advertised prefixes; in a container it does from the first, and nobody may write.

    Raises:
        NodeError: it does not, and cannot be made to.
    """
    name = f"net.ipv6.conf.{INTERFACE}.accept_ra"
    accepts = await node.exec(["sysctl", "-n", name])
    if accepts.stdout.strip() == b"0":
        await node.exec(["sysctl", "-qw", f"{name}=2"])
