"""The kernel's lists of sockets, the end of one, and whose they are."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from nodes import errors
from nodes.terminal import sock_diag
from nodes.terminal.actions import TCP, UDP, Endpoint, Flow
from nodes.terminal.sock_diag import Answer, OpenSocket

_LONGEST = 256 * 1024
_PROC = Path("/proc")


class SocketList:
    """Asks the kernel, which answers at once: nothing here waits."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, sock_diag.FAMILY)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def sockets(self) -> list[OpenSocket]:
        """All sockets of TCP and UDP, those aside that only listen or wait for their time.

        Raises:
            NodeError: the kernel refused.
        """
        return [*self._dump(TCP), *self._dump(UDP)]

    def destroy(self, flow: Flow) -> bool:
        """End the flow's socket; return whether there was one.

        Raises:
            MachineError: this kernel cannot (CONFIG_INET_DIAG_DESTROY).
            NodeError: the kernel refused.
        """
        ended = False
        for found in self._dump(flow.protocol) if flow.protocol in (TCP, UDP) else ():
            if _carries(found, flow):
                self._sequence += 1
                self._socket.send(sock_diag.destroy(found, sequence=self._sequence))
                ended |= self._judge(self._answer(found.protocol))
        return ended

    def _judge(self, error: int) -> bool:
        if error == errno.EOPNOTSUPP:
            raise errors.MachineError(
                "this kernel cannot end a socket of another process (CONFIG_INET_DIAG_DESTROY)"
            )
        if error not in (0, errno.ENOENT):
            raise errors.NodeError(f"cannot end a socket: {os.strerror(error)}")
        return error == 0

    def _dump(self, protocol: int) -> Iterator[OpenSocket]:
        self._sequence += 1
        self._socket.send(sock_diag.dump(protocol, sequence=self._sequence))
        while True:
            for said in sock_diag.read(self._socket.recv(_LONGEST), protocol):
                if isinstance(said, Answer):
                    self._judge(said.error)
                    return
                yield said

    def _answer(self, protocol: int) -> int:
        while True:
            for said in sock_diag.read(self._socket.recv(_LONGEST), protocol):
                if isinstance(said, Answer):
                    return said.error


def _carries(found: OpenSocket, flow: Flow) -> bool:
    """Whether the flow's packets are this socket's; one without a connection is ended with all its flows."""
    if found.remote.port:
        return (found.local, found.remote) == (flow.local, flow.remote)
    anywhere = Endpoint(type(flow.local.address)("::"), flow.local.port)
    return flow.protocol == UDP and found.local in (flow.local, anywhere)


def process_of(inode: int) -> str | None:
    """The name of a process that has the socket of this inode; None where none is to be seen."""
    wanted = f"socket:[{inode}]"
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                for descriptor in (folder / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if str(descriptor.readlink()) == wanted:
                            return (folder / "comm").read_text().strip()
    return None
