"""The role ``peer`` as the agent plays it: a charon, its data plane chosen by trying, driven through VICI."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc

from nodes import errors
from nodes.control.methods import Handler
from nodes.peer import dataplane, inner, installation
from nodes.peer.abnormality import abnormality
from nodes.peer.charon import STOP_TIMEOUT, Charon, ending, running_charon
from nodes.peer.config import KEY_LOG, strongswan_conf
from nodes.peer.connections import Connections
from nodes.peer.methods import PeerMethods
from nodes.peer.news import News
from nodes.peer.options import peer_options
from nodes.peer.vici_client import ViciClient
from nodes.role import NodeContext, Publish

VICI_SOCKET = "charon.vici"
ERROR_SOCKET = "charon.enfy"
LOG = "charon.log"
CONFIGURATION = "strongswan.conf"
QUOTED = 3
"""How many log lines the error of charon's death quotes; the event has more."""


@asynccontextmanager
async def play(context: NodeContext) -> AsyncIterator[Mapping[str, Handler]]:
    """Play the role.

    Raises:
        UsageError: an option is unknown or out of range.
        MachineError: charon is missing, or nothing carries ESP here.
        DaemonError: charon did not start, or, on leaving, died meanwhile.
    """
    options = peer_options(context.options)
    strongswan = installation.find()
    await inner.flush_remains()
    interface, why = await inner.inner_interface()
    if options.inner_address is not None:
        await inner.add_inner_address(options.inner_address, interface)
    choice = await dataplane.choose(options.dataplane, strongswan.plugins)

    log, configuration = context.log_dir / LOG, context.log_dir / CONFIGURATION
    sockets = [context.run_dir / name for name in (VICI_SOCKET, ERROR_SOCKET)]
    configuration.write_text(
        strongswan_conf(
            options,
            dataplane=choice.dataplane,
            available=strongswan.plugins,
            vici_socket=sockets[0],
            error_socket=sockets[1],
            log=log,
        )
    )
    files = {configuration: 0o644, log: 0o644}
    if options.keys:
        files[log.with_name(KEY_LOG)] = 0o600
    for path, mode in files.items():
        path.touch()
        _give(path, context.owner, mode)

    async with running_charon(strongswan.command(), configuration, log) as charon:
        for path in sockets:
            if path.exists():
                _give(path, context.owner, 0o600)
        vici = ViciClient(sockets[0])
        news = News(vici, context.publish, options.publish_log)
        connections = Connections(vici, inner.PlaintextGuard(interface))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, charon, context.publish)
            await tasks.start(_follow, news, charon)
            async with abnormality(
                options.abnormality, sockets[0], context.run_dir, context.publish
            ) as beside:
                methods = PeerMethods(
                    charon=charon,
                    vici=vici,
                    news=news,
                    connections=connections,
                    abnormality=beside,
                    dataplane=choice,
                    inner=(interface, why),
                )
                yield {**methods.handlers(), **beside.handlers()}
            tasks.cancel_scope.cancel()


def _give(path: Path, owner: int, mode: int) -> None:
    path.chmod(mode)
    if os.geteuid() == 0 and owner != 0:
        os.chown(path, owner, -1)


async def _follow(
    news: News, charon: Charon, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    try:
        await news.follow(task_status=task_status)
    except errors.DaemonError:
        with anyio.move_on_after(STOP_TIMEOUT):
            await charon.wait()
            await anyio.sleep_forever()  # it died, and _watch tells how
        raise


async def _watch(charon: Charon, publish: Publish) -> None:
    """Wait for charon's end, which nobody asked for: whoever does cancels this first."""
    status = await charon.wait()
    lines = charon.last_lines()
    publish("charon.died", status=status, log=lines)
    raise errors.DaemonError(f"charon died, {ending(status)}; its log ends: {' | '.join(lines[-QUOTED:])}")
