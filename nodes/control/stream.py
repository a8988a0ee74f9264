"""A Unix stream socket for both ends of the control channel.

anyio's own stream raises ``InvalidStateError`` into the event loop when it is cancelled in the moment in
which data arrive; this one waits with ``wait_readable``, which does not.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from nodes import errors

_CHUNK = 65536


class UnixStream:
    """A connected Unix stream; closed by its context."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock

    @classmethod
    async def connect(cls, path: Path) -> Self:
        """Connect to the listener at ``path``; ``OSError`` where there is none."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(str(path))  # a Unix socket connects, or refuses, at once
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def peer_uid(self) -> int:
        """The uid of the process at the other end, as the kernel says (SO_PEERCRED)."""
        packed = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _pid, uid, _gid = struct.unpack("3i", packed)
        return int(uid)

    async def receive(self) -> bytes:
        """The next octets; empty at the end of the stream."""
        while True:
            await anyio.wait_readable(self._socket)
            try:
                return self._socket.recv(_CHUNK)
            except BlockingIOError:
                continue
            except ConnectionError:
                return b""

    async def send(self, data: bytes) -> None:
        """Send all of ``data``.

        Raises:
            ControlClosedError: the other end is gone.
        """
        rest = memoryview(data)
        while rest:
            await anyio.wait_writable(self._socket)
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                continue
            except ConnectionError as error:
                raise errors.ControlClosedError("the control channel ended") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the stream; whoever waits on it is told."""
        anyio.notify_closing(self._socket)
        self._socket.close()
