"""The orchestrator's side of a node's control channel."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio

from nodes import errors
from nodes.control.messages import (
    LineSplitter,
    Request,
    Response,
    decode,
    decode_as,
    decode_event,
    encode_request,
    error_from,
)
from nodes.control.stream import UnixStream
from nodes.events import Event
from orchestrator.tasks import background

T = TypeVar("T")

_MOST_FRUITLESS = 5
"""Connections in a row on which nothing came: the node does not want them, or its agents do not live."""


class ControlClient:
    """Calls a node's methods; its events go to the callback that it was connected with.

    Calls from several tasks at once are answered as they end, in any order.
    """

    def __init__(
        self, node: str, path: Path, stream: UnixStream, on_event: Callable[[Event], None], *, again: bool
    ) -> None:
        self.node = node
        self._path = path
        self._stream = stream
        self._again = again
        self._fruitless = 0
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Answer] = {}
        self._sending = anyio.Lock()
        self._closed: errors.HopbedError | None = None

    async def call(self, method: str, parameter: Any, result: type[T]) -> T:
        """Call ``method`` with ``parameter`` (a ``msgspec.Struct``, or None) and return its ``result``.

        Raises:
            HopbedError: what the node raised, as the same type with the same text.
            ControlClosedError: the channel ended before the answer.
            ProtocolError: the answer is not of the type.
        """
        if self._closed is not None:
            raise self._closed
        id_ = next(self._ids)
        answer = self._waiting[id_] = _Answer()
        try:
            line = encode_request(id_, method, {} if parameter is None else parameter)
            async with self._sending:
                await self._stream.send(line)
            await answer.arrived.wait()
        except errors.ControlClosedError as error:
            raise self._ended() from error
        finally:
            del self._waiting[id_]
        if answer.response is None:
            raise self._ended()
        if answer.response.error is not None:
            raise error_from(answer.response.error)
        return decode_as(answer.response.result, result)

    def _ended(self) -> errors.HopbedError:
        return self._closed or errors.ControlClosedError(f"{self.node}: the control channel ended")

    async def _follow(self) -> None:
        """Take what comes, over one connection after the other."""
        try:
            while True:
                await self._hear()
                if self._closed is not None or not self._again or self._fruitless >= _MOST_FRUITLESS:
                    return
                self._end_calls()
                try:
                    stream = await UnixStream.connect(self._path)
                except OSError:
                    return
                self._fruitless += 1
                await self._stream.close()
                self._stream = stream
        finally:
            self._closed = self._ended()
            self._end_calls()

    async def close(self) -> None:
        """End the connection."""
        await self._stream.close()

    def _end_calls(self) -> None:
        for answer in self._waiting.values():
            answer.arrived.set()

    async def _hear(self) -> None:
        splitter = LineSplitter()
        try:
            while data := await self._stream.receive():
                self._fruitless = 0
                for line in splitter.feed(data):
                    self._take(decode(line))
        except errors.ProtocolError as error:
            self._closed = error

    def _take(self, message: Request | Response) -> None:
        if isinstance(message, Request):
            self._on_event(decode_event(message))
        elif message.id is None:  # an error about the stream itself: the node ends it now
            self._closed = error_from(message.error) if message.error else None
        elif message.id in self._waiting:
            self._waiting[message.id].response = message
            self._waiting[message.id].arrived.set()


class _Answer:
    def __init__(self) -> None:
        self.arrived = anyio.Event()
        self.response: Response | None = None


@asynccontextmanager
async def connect(
    node: str, path: Path, on_event: Callable[[Event], None], *, again: bool = False
) -> AsyncIterator[ControlClient]:
    """Connect to the control socket of ``node`` at ``path``, for the length of the context.

    A cancellation does not end the connection before the context: what clears up can call still, and a call
    that is cancelled is not told that the channel ended.

    Args:
        again: the node's agent may be killed and comes again; then so does the connection. Calls that are
            under way fail, later ones wait for the next agent.

    Raises:
        ControlClosedError: nobody answers there, or it is not ours.
    """
    try:
        stream = await UnixStream.connect(path)
    except OSError as error:
        raise errors.ControlClosedError(f"{node}: no control channel at {path}: {error.strerror}") from error
    client = ControlClient(node, path, stream, on_event, again=again)
    following = anyio.CancelScope(shield=True)

    async def follow() -> None:
        with following:
            await client._follow()

    try:
        async with background() as tasks:
            tasks.start_soon(follow)
            try:
                yield client
            finally:
                following.cancel()
    finally:
        await client.close()
