"""The role ``terminal`` as the agent plays it: an address, a control channel and probe traffic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from nodes.control.methods import Handler
from nodes.role import NodeContext


@asynccontextmanager
async def play(context: NodeContext) -> AsyncIterator[Mapping[str, Handler]]:
    """Play the role; it has no methods of its own."""
    context.publish("role.started", role="terminal")
    yield {}
