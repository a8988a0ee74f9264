"""The stream of events of one testbed: every reporter reads it, and a script waits on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import anyio

from nodes import errors
from nodes.events import Event, event

Sink = Callable[[Event], None]

_SHOWN = 8


class EventStream:
    """Passes each event to every sink, keeps all, and lets tasks wait for one.

    Sinks are called in the order they were added, in the task that publishes; a sink must not block.
    """

    def __init__(self) -> None:
        self.past: list[Event] = []
        self._sinks: list[Sink] = []
        self._arrived = anyio.Event()

    def add_sink(self, sink: Sink, *, replay: bool = False) -> None:
        """Pass every later event to ``sink``; with ``replay``, the earlier ones first."""
        if replay:
            for past in self.past:
                sink(past)
        self._sinks.append(sink)

    def remove_sink(self, sink: Sink) -> None:
        """Pass ``sink`` no more events."""
        self._sinks.remove(sink)

    def publish(self, event: Event) -> None:
        """Put an event on the stream."""
        self.past.append(event)
        for sink in list(self._sinks):
            sink(event)
        self._arrived.set()
        self._arrived = anyio.Event()

    def say(self, kind: str, *, node: str = "", **data: Any) -> None:
        """Publish an event of this moment."""
        self.publish(event(kind, node=node, **data))

    async def wait_for(
        self,
        kind: str,
        *,
        node: str | None = None,
        where: Callable[[Event], bool] = lambda _: True,
        since: int = 0,
        timeout: float = math.inf,
    ) -> Event:
        """The first event of ``kind`` (of ``node``, for which ``where`` holds), past or to come.

        Args:
            since: an index into ``past``; earlier events are passed over.
            timeout: seconds; after it a ``NodeError`` says what did not happen, and what did at last.
        """
        seen = since
        with anyio.move_on_after(timeout):
            while True:
                while seen < len(self.past):
                    found = self.past[seen]
                    seen += 1
                    if found.kind == kind and node in (None, found.node) and where(found):
                        return found
                await self._arrived.wait()
        last = ", ".join(f"{one.node} {one.kind}".strip() for one in self.past[since:][-_SHOWN:]) or "none"
        source = f" from {node}" if node else ""
        raise errors.NodeError(f"no event {kind!r}{source} within {timeout:g} s; the last that came: {last}")
