"""The role ``terminal`` as the agent plays it: a hop daemon, started when it is needed and kept alive."""

from __future__ import annotations

import typing
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal, TypeVar

import anyio
import msgspec

from nodes import errors
from nodes.control.methods import Handler
from nodes.role import NodeContext
from nodes.terminal.daemon import HopDaemon
from nodes.terminal.model import Hop, Hopped, Link, Pair, Schedule, SetPolicy, Status
from nodes.terminal.state_file import StateFile

STATE = "terminal.state"
"""In the node's run directory: what the next daemon takes up."""

T = TypeVar("T")


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The role's options, from ``x-hopbed`` of the compose file.

    Attributes:
        address: the node's address on the bridge.
        dataplane: what carries ESP in this run; no concern of a terminal.
        dad: duplicate address detection of second addresses; by default the interface's own policy.
    """

    address: str | None = None
    dataplane: str | None = None
    dad: Literal["nodad", "optimistic", "full"] | None = None


@asynccontextmanager
async def play(context: NodeContext) -> AsyncIterator[Mapping[str, Handler]]:
    """Play the role.

    Raises:
        UsageError: an option is unknown or out of range.
        DaemonError: on leaving: the hop daemon died again and again.
    """
    try:
        options = msgspec.convert(dict(context.options), Options)
    except msgspec.ValidationError as error:
        raise errors.UsageError(f"x-hopbed of a terminal: {error}") from None
    state = context.run_dir / STATE
    arguments = [f"--state={state}", *([f"--dad={options.dad}"] if options.dad else [])]
    daemon = HopDaemon(context.publish, arguments, context.orders)
    if not context.life:
        StateFile(state).remove()  # whoever wrote it had another kernel's tables and sockets
    elif state.exists():  # the agent that was killed had a daemon
        daemon.want(again=True)
    context.publish("role.started", role="terminal")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(daemon.run)
        yield _Methods(daemon).handlers()
        tasks.cancel_scope.cancel()


class _Methods:
    """The terminal's methods, as the agent offers them: the daemon answers."""

    def __init__(self, daemon: HopDaemon) -> None:
        self._daemon = daemon

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "terminal.pair": self.pair,
            "terminal.link": self.link,
            "terminal.policy": self.policy,
            "terminal.schedule": self.schedule,
            "terminal.hop": self.hop,
            "terminal.stop": self.stop,
            "terminal.status": self.status,
        }

    async def pair(self, pair: Pair) -> None:
        await self._daemon.call("terminal.pair", pair, lasting=f"pair {pair.partner}")

    async def link(self, link: Link) -> None:
        await self._daemon.call("terminal.link", link, lasting=f"link {link.prefixes}")

    async def policy(self, policy: SetPolicy) -> None:
        await self._daemon.call("terminal.policy", policy, lasting="policy")

    async def schedule(self, schedule: Schedule) -> None:
        await self._daemon.call("terminal.schedule", schedule)

    async def hop(self, hop: Hop) -> Hopped:
        return await self._answer("terminal.hop", hop, Hopped)

    async def stop(self) -> None:
        await self._daemon.call("terminal.stop", {})

    async def status(self) -> Status:
        return await self._answer("terminal.status", {}, Status)

    async def _answer(self, method: str, params: typing.Any, type_: type[T]) -> T:
        return msgspec.json.decode(await self._daemon.call(method, params), type=type_)
