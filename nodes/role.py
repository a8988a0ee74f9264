"""What a role is to the agent that plays it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from nodes.control.methods import Handler
from nodes.keeper import Orders

Publish = Callable[..., None]
"""``publish(kind, **data)`` puts an event of this node on the stream."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeContext:
    """What a role knows about the node that it runs in.

    Attributes:
        name: the node's name.
        run_dir: where the node's sockets stand; the orchestrator sees the same folder.
        log_dir: where the node's logs go; part of the evidence.
        owner: the uid that the node's sockets and logs belong to.
        options: the role's own settings, from ``x-hopbed`` of the compose file.
        publish: puts an event on the stream.
        life: how many agents the node had before this one, which were killed.
        orders: what of lasting effect the role is told, for the lives after this one.
    """

    name: str
    run_dir: Path
    log_dir: Path
    owner: int
    options: Mapping[str, Any]
    publish: Publish
    life: int = 0
    orders: Orders = dataclasses.field(default_factory=Orders)


class Role(Protocol):
    """A role: starts what it needs, offers methods while it lasts, ends what it started."""

    def __call__(self, context: NodeContext) -> AbstractAsyncContextManager[Mapping[str, Handler]]:
        """Start; the context manager's value is the role's methods by name.

        Raises:
            HopbedError: it could not start, or, on leaving, that something of it died meanwhile.
        """
