"""Serves a node's control channel on a Unix socket."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc

from nodes import errors
from nodes.control.messages import LineSplitter, Request, decode, encode_error, encode_event, encode_result
from nodes.control.methods import Methods
from nodes.control.stream import UnixStream
from nodes.events import Event

MAX_CLIENTS = 16
"""Connections that a node accepts at once; one more is closed at once."""
MAX_CALLS = 64
"""Calls of one connection that run at once; one more waits, unread."""
BACKLOG = 10_000
"""Events that wait for a slow reader before it is cut off."""
MOST_UNHEARD = BACKLOG // 2
"""Events that wait for the first connection to come back."""
LAST_WORDS = 1.0
"""Seconds that a reader has to take what is queued for it when the node ends."""


class PrivateSocket:
    """A Unix listener for ``path`` with mode 0600 that belongs to uid ``owner``.

    It listens from the beginning, under no name that anybody looks for; :meth:`appear` gives it its own, so
    that the name's presence is readiness.
    """

    def __init__(self, path: Path, owner: int) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._hidden = Path(tempfile.mkdtemp(dir=path.parent, prefix="."), "s")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self.listener.bind(str(self._hidden))
            self._hidden.chmod(0o600)
            if os.geteuid() == 0 and owner != 0:
                os.chown(self._hidden, owner, -1)
            self.listener.listen(MAX_CLIENTS)
        except BaseException:
            self.close()
            raise

    def appear(self) -> None:
        """Stand under the path from now on."""
        if self._hidden.exists():
            self._hidden.rename(self._path)
            self._hidden.parent.rmdir()

    def close(self) -> None:
        """Listen no more, and leave nothing."""
        self.listener.close()
        if self._hidden.parent.exists():
            self._hidden.unlink(missing_ok=True)
            self._hidden.parent.rmdir()
        else:
            self._path.unlink(missing_ok=True)


@asynccontextmanager
async def private_listener(path: Path, owner: int) -> AsyncIterator[socket.socket]:
    """The listener of a :class:`PrivateSocket` that stands at ``path`` for the length of the context."""
    control = PrivateSocket(path, owner)
    try:
        control.appear()
        yield control.listener
    finally:
        control.close()


class ControlServer:
    """Answers calls, and sends every event to every connection.

    Args:
        methods: what can be called.
        owner: the uid that may use the channel; root may too.
        awaited: there was a server before this one, whose connections come back: the first one gets what
            happened until then, as far as there is room.
    """

    def __init__(self, methods: Methods, *, owner: int, awaited: bool = False) -> None:
        self.methods = methods
        self._owner = owner
        self._clients: set[_Client] = set()
        self._unheard: list[bytes] | None = [] if awaited else None

    def publish(self, event: Event) -> None:
        """Send an event to every connection, without waiting for any."""
        line = encode_event(event)
        for client in self._clients:
            client.push(line)
        if self._unheard is not None and len(self._unheard) < MOST_UNHEARD:
            self._unheard.append(line)

    async def serve(self, listener: socket.socket) -> None:
        """Serve connections until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.wait_readable(listener)
                try:
                    sock, _ = listener.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    continue
                tasks.start_soon(self._connection, sock)

    async def _connection(self, sock: socket.socket) -> None:
        async with UnixStream(sock) as stream:
            if stream.peer_uid() not in (self._owner, 0) or len(self._clients) >= MAX_CLIENTS:
                return
            client = _Client(self.methods, stream)
            self._clients.add(client)
            unheard, self._unheard = self._unheard, None
            for line in unheard or ():
                client.push(line)
            try:
                await client.run()
            finally:
                self._clients.discard(client)


class _Client:
    def __init__(self, methods: Methods, stream: UnixStream) -> None:
        self._methods = methods
        self._stream = stream
        self._lines, self._outgoing = anyio.create_memory_object_stream[bytes](BACKLOG)
        self._slots = anyio.Semaphore(MAX_CALLS)
        self._scope = anyio.CancelScope()
        self._writing = anyio.CancelScope(shield=True)

    def push(self, line: bytes) -> None:
        try:
            self._lines.send_nowait(line)
        except anyio.WouldBlock:  # it does not read: cut it off rather than fill memory
            self._scope.cancel()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass

    async def run(self) -> None:
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write)
                try:
                    await self._read(tasks)
                finally:
                    self._lines.close()  # what is queued is still written, the reason of an end above all
                    self._writing.deadline = anyio.current_time() + LAST_WORDS
                    tasks.cancel_scope.cancel()

    async def _write(self) -> None:
        with self._writing:
            async for line in self._outgoing:
                with contextlib.suppress(errors.ControlClosedError):
                    await self._stream.send(line)

    async def _read(self, tasks: anyio.abc.TaskGroup) -> None:
        splitter = LineSplitter()
        try:
            while data := await self._stream.receive():
                for line in splitter.feed(data):
                    message = decode(line)
                    if not isinstance(message, Request) or message.id is None:
                        raise errors.ProtocolError("a node takes calls only, each with an id")
                    await self._slots.acquire()
                    tasks.start_soon(self._call, message, message.id)
        except errors.ProtocolError as error:  # the stream cannot be trusted any more: say why, and end
            with contextlib.suppress(errors.ControlClosedError):
                await self._stream.send(encode_error(None, error))

    async def _call(self, request: Request, id_: int) -> None:
        try:
            answer = encode_result(id_, await self._methods.call(request))
        except Exception as error:  # whatever it is, the caller gets its type and text
            answer = encode_error(id_, error)
        finally:
            self._slots.release()
        self.push(answer)
