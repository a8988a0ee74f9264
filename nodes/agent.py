"""The agent: one process a node. It plays the node's role and serves the control channel.

``python -m nodes.agent ROLE`` with the settings in the environment, so that a container started by
``docker compose up`` and a node started by the orchestrator are the same thing.

``HOPBED_NODE``     the node's name (default: the host name)
``HOPBED_OWNER``    the uid that may use the control channel (default: the agent's own)
``HOPBED_OPTIONS``  the role's settings as a JSON object (default: none)
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import anyio
import msgspec

from nodes import errors
from nodes.control.methods import Handler, Methods
from nodes.control.server import ControlServer, PrivateSocket
from nodes.events import event
from nodes.keeper import RESTARTED, Life, Orders, keep
from nodes.program import READY, failed_event, say
from nodes.role import NodeContext, Publish, Role

RUN_DIR = Path("/run/hopbed")
"""Where a node finds its run directory, in both runtimes."""
LOG_DIR = RUN_DIR / "log"
CONTROL_SOCKET = "control.sock"

ROLES = {"terminal": "nodes.terminal.role", "peer": "nodes.peer.role", "ike": "nodes.ike.role"}
"""The module of each role that has an agent; its ``play`` is the :class:`~nodes.role.Role`."""
KEPT = frozenset({"terminal"})
"""The roles whose agent may die: the next one takes up what it did (:mod:`nodes.keeper`)."""


def node_name() -> str:
    """The node's name as the environment tells it."""
    return os.environ.get("HOPBED_NODE") or socket.gethostname()


def owner_from_environment() -> int:
    """The uid that may use the control channel.

    Raises:
        UsageError: the variable is malformed.
    """
    try:
        return int(os.environ.get("HOPBED_OWNER", os.geteuid()))
    except ValueError:
        raise errors.UsageError("HOPBED_OWNER must be a uid") from None


def context_from_environment(publish: Publish, life: Life) -> NodeContext:
    """The node's context as the environment tells it.

    Raises:
        UsageError: a variable is malformed; the text names it.
    """
    try:
        options = msgspec.json.decode(os.environ.get("HOPBED_OPTIONS", "{}"), type=dict)
    except msgspec.DecodeError as error:
        raise errors.UsageError(f"HOPBED_OPTIONS must be a JSON object: {error}") from None
    return NodeContext(
        name=node_name(),
        run_dir=RUN_DIR,
        log_dir=LOG_DIR,
        owner=owner_from_environment(),
        options=options,
        publish=publish,
        life=life.number,
        orders=life.orders,
    )


async def serve(role: Role, context: NodeContext, server: ControlServer, control: PrivateSocket) -> None:
    """Play ``role`` and serve the control channel until cancelled or the role fails."""
    context.log_dir.mkdir(parents=True, exist_ok=True)
    async with role(context) as handlers:
        server.methods.add(handlers)
        control.appear()
        if context.life:
            say(event(RESTARTED, node=context.name, pid=os.getpid()))
        else:
            say(event(READY, node=context.name))
        await server.serve(control.listener)


async def _until_signal() -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            return


async def agent(role_name: str, life: Life) -> None:
    """Run the agent of a node with this role until SIGTERM or SIGINT."""
    role: Role = importlib.import_module(ROLES[role_name]).play
    server: ControlServer

    def publish(kind: str, **data: Any) -> None:
        server.publish(event(kind, node=context.name, **data))

    async def ping() -> str:
        return context.name

    context = context_from_environment(publish, life)
    ping_method: dict[str, Handler] = {"agent.ping": ping}
    server = ControlServer(Methods(ping_method), owner=context.owner, awaited=bool(life.number))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, role, context, server, life.control)
        await _until_signal()
        tasks.cancel_scope.cancel()


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main() -> None:
    """The agent's entry point."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m nodes.agent ROLE")
    role = sys.argv[1]
    try:
        if role not in ROLES:
            raise errors.UsageError(f"no role {role!r}; there are {', '.join(ROLES)}")
        control = PrivateSocket(RUN_DIR / CONTROL_SOCKET, owner_from_environment())
        if role in KEPT:
            anyio.run(agent, role, keep(node_name(), control))
        else:
            with contextlib.closing(control):
                anyio.run(agent, role, Life(number=0, control=control, orders=Orders()))
    except Exception as error:  # the agent's last word: whoever started it needs the reason
        cause = _innermost(error)
        say(failed_event(cause, node=os.environ.get("HOPBED_NODE", "")))
        sys.exit(cause.exit_status if isinstance(cause, errors.HopbedError) else 4)


if __name__ == "__main__":
    main()
