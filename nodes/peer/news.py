"""Charon's events as they come: put on the stream, and waited for by whoever asked for an SA."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.abc
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from nodes.peer.events import LOG_EVENT, LOG_KIND, OPTIONAL_EVENTS, SA_EVENTS, Told, told
from nodes.peer.vici_client import ViciClient
from nodes.role import Publish

BACKLOG = 10_000
"""Events that a reader may leave unread; beyond it log lines are left out."""

Reader = MemoryObjectReceiveStream[Told]


class News:
    """Follows charon's events for as long as the peer lasts.

    Args:
        vici: charon's VICI.
        publish: puts an event on the stream.
        publish_log: the level up to which log lines are put there too; None: none are.
    """

    def __init__(self, vici: ViciClient, publish: Publish, publish_log: int | None) -> None:
        self._vici = vici
        self._publish = publish
        self._log_level = -1 if publish_log is None else publish_log
        self._readers: dict[MemoryObjectSendStream[Told], frozenset[str]] = {}

    async def follow(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Publish every event until cancelled; it is started once none is missed any more.

        Raises:
            DaemonError: charon ended.
        """
        async with self._vici.listen((*SA_EVENTS, LOG_EVENT), optional=OPTIONAL_EVENTS) as events:
            task_status.started()
            async for name, time_ns, message in events:
                for kind, data in told(name, message):
                    self._take(kind, data, time_ns)

    def _take(self, kind: str, data: dict[str, Any], time_ns: int) -> None:
        if kind != LOG_KIND or data["level"] <= self._log_level:
            self._publish(kind, time_ns=time_ns, **data)
        for sender, kinds in self._readers.items():
            if kind in kinds:
                with contextlib.suppress(anyio.WouldBlock):
                    sender.send_nowait((kind, data))

    @contextmanager
    def reader(self, *kinds: str) -> Iterator[Reader]:
        """Events of these kinds from now on; each was published by the time it is read."""
        sender, receiver = anyio.create_memory_object_stream[Told](BACKLOG)
        self._readers[sender] = frozenset(kinds)
        try:
            with receiver:
                yield receiver
        finally:
            del self._readers[sender]
            sender.close()
