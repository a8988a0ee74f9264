"""What a container says: its output, taken apart, logged, and heard for the events of its node."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import msgspec

from nodes import errors
from nodes.control.messages import LineSplitter
from nodes.events import Event, event
from nodes.program import FAILED, READY, error_of

NODE_UP = "node.up"
NODE_READY = "node.ready"
NODE_FAILED = "node.failed"
NODE_DIED = "node.died"
STDOUT = 1
LOG_FILE = "agent.log"
"""The name of a node's output in its log folder."""

_HEADER = struct.Struct(">BxxxI")
_LAST_WORDS = 2000
"""Characters of a node's output that its error holds."""
_CHUNK = 65536


class FrameSplitter:
    """Takes apart the engine's stream of a container's output (Engine API, ``ContainerAttach``)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The number of the stream (1 or 2) and the payload of each frame that ``data`` completes."""
        self._rest += data
        while len(self._rest) >= _HEADER.size:
            stream, length = _HEADER.unpack_from(self._rest)
            end = _HEADER.size + length
            if len(self._rest) < end:
                return
            payload, self._rest = self._rest[_HEADER.size : end], self._rest[end:]
            yield stream, payload


class Output:
    """The output of one node's container, from its first octet to its last.

    Args:
        node: the node's name.
        has_agent: whether an agent says when the node is ready; else it is ready once it is up.
        log: the file that everything is appended to.
        publish: gets the node's events.
    """

    def __init__(self, node: str, *, has_agent: bool, log: Path, publish: Callable[[Event], None]) -> None:
        self.node = node
        self._has_agent = has_agent
        self._log = log
        self._publish = publish
        self._frames = FrameSplitter()
        self._lines = LineSplitter()
        self._last_words = b""
        self._failure: errors.HopbedError | None = None
        self._changed = anyio.Event()
        self._status: int | None = None
        self.is_ready = False

    async def follow(self, fd: int) -> None:
        """Hear the stream ``fd``, which does not block, to its end."""
        with self._log.open("ab", buffering=0) as log:
            while True:
                await anyio.wait_readable(fd)
                try:
                    data = os.read(fd, _CHUNK)
                except ConnectionResetError:
                    return
                if not data:
                    return
                for stream, payload in self._frames.feed(data):
                    log.write(payload)
                    self._hear(stream, payload)

    def _hear(self, stream: int, payload: bytes) -> None:
        if stream != STDOUT:
            self._last_words = (self._last_words + payload)[-_LAST_WORDS:]
            return
        for line in self._lines.feed(payload):
            try:
                self._take(msgspec.json.decode(line, type=Event))
            except msgspec.DecodeError:  # not an event, so meant for the log
                self._last_words = (self._last_words + line + b"\n")[-_LAST_WORDS:]

    def _take(self, said: Event) -> None:
        if said.kind == READY:
            self._set_ready()
        elif said.kind == FAILED:
            self._failure = error_of(said)
            if self.is_ready:
                self._publish(event(NODE_FAILED, node=self.node, **said.data))
        else:
            self._publish(said)
            if said.kind == NODE_UP and not self._has_agent:
                self._set_ready()

    def _set_ready(self) -> None:
        self.is_ready = True
        self._publish(event(NODE_READY, node=self.node))
        self._changed.set()

    def end(self, status: int | None) -> None:
        """The container ended, with this exit status where it is known."""
        self._status = status
        self._changed.set()

    async def wait_ready(self) -> None:
        """Wait until the node is ready.

        Raises:
            HopbedError: it failed, as the type that it said, with its name; ``NodeError`` if it just ended.
        """
        await self._changed.wait()
        if self.is_ready:
            return
        if self._failure is not None:
            raise type(self._failure)(f"{self.node}: {self._failure}")
        said = self._last_words.decode(errors="replace").strip()
        raise errors.NodeError(
            f"{self.node}: ended with status {self._status} before it was ready{said and f': {said}'}"
        )
