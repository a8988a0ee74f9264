"""Serves a node's control channel on a Unix socket."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc

from nodes import errors
from nodes.control.messages import LineSplitter, Request, decode, encode_error, encode_event, encode_result
from nodes.control.methods import Methods
from nodes.events import Event

MAX_CLIENTS = 16
"""Connections that a node accepts at once; one more is closed at once."""
MAX_CALLS = 64
"""Calls of one connection that run at once; one more waits, unread."""
BACKLOG = 10_000
"""Events that wait for a slow reader before it is cut off."""


@asynccontextmanager
async def private_listener(path: Path, owner: int) -> AsyncIterator[anyio.abc.SocketListener]:
    """A Unix listener at ``path`` with mode 0600 that belongs to uid ``owner``.

    The socket appears under its name only once it accepts connections, so that its presence is
    readiness; it goes away with the context.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as hidden:
        unborn = Path(hidden, "s")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.bind(str(unborn))
            unborn.chmod(0o600)
            if os.geteuid() == 0 and owner != 0:
                os.chown(unborn, owner, -1)
            sock.listen(MAX_CLIENTS)
            unborn.rename(path)
        except BaseException:
            sock.close()
            raise
    listener = await anyio.abc.SocketListener.from_socket(sock)
    try:
        yield listener
    finally:
        await listener.aclose()
        path.unlink(missing_ok=True)


def peer_uid(stream: anyio.abc.SocketStream) -> int:
    """The uid of the process at the other end, as the kernel says (SO_PEERCRED)."""
    raw: socket.socket = stream.extra(anyio.abc.SocketAttribute.raw_socket)
    packed = raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", packed)
    return int(uid)


class ControlServer:
    """Answers calls, and sends every event to every connection.

    Args:
        methods: what can be called.
        owner: the uid that may use the channel; root may too.
    """

    def __init__(self, methods: Methods, *, owner: int) -> None:
        self.methods = methods
        self._owner = owner
        self._clients: set[_Client] = set()

    def publish(self, event: Event) -> None:
        """Send an event to every connection, without waiting for any."""
        line = encode_event(event)
        for client in self._clients:
            client.push(line)

    async def serve(self, listener: anyio.abc.SocketListener) -> None:
        """Serve connections until cancelled."""
        await listener.serve(self._connection)

    async def _connection(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            if peer_uid(stream) not in (self._owner, 0) or len(self._clients) >= MAX_CLIENTS:
                return
            client = _Client(self.methods, stream)
            self._clients.add(client)
            try:
                await client.run()
            finally:
                self._clients.discard(client)


class _Client:
    def __init__(self, methods: Methods, stream: anyio.abc.SocketStream) -> None:
        self._methods = methods
        self._stream = stream
        self._lines, self._outgoing = anyio.create_memory_object_stream[bytes](BACKLOG)
        self._slots = anyio.Semaphore(MAX_CALLS)
        self._scope = anyio.CancelScope()

    def push(self, line: bytes) -> None:
        try:
            self._lines.send_nowait(line)
        except anyio.WouldBlock:  # it does not read: cut it off rather than fill memory
            self._scope.cancel()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass

    async def run(self) -> None:
        with self._scope, contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write)
                await self._read(tasks)
                tasks.cancel_scope.cancel()

    async def _write(self) -> None:
        async for line in self._outgoing:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._stream.send(line)

    async def _read(self, tasks: anyio.abc.TaskGroup) -> None:
        splitter = LineSplitter()
        try:
            async for data in self._stream:
                for line in splitter.feed(data):
                    message = decode(line)
                    if not isinstance(message, Request) or message.id is None:
                        raise errors.ProtocolError("a node takes calls only, each with an id")
                    await self._slots.acquire()
                    tasks.start_soon(self._call, message, message.id)
        except errors.ProtocolError as error:  # the stream cannot be trusted any more: say why, and end
            await self._stream.send(encode_error(None, error))

    async def _call(self, request: Request, id_: int) -> None:
        try:
            answer = encode_result(id_, await self._methods.call(request))
        except Exception as error:  # whatever it is, the caller gets its type and text
            answer = encode_error(id_, error)
        finally:
            self._slots.release()
        self.push(answer)
