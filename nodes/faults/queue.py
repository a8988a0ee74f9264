"""One queue of the kernel, taken by this process: the packets in it, and the verdicts on them."""

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
from nodes.faults import nfqueue
from nodes.faults.nfqueue import Answer, QueuedPacket

MOST_WAITING = 65_536
"""Packets that may wait for their verdict, held and delayed ones too; more of them pass at once."""

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5
_SO_RCVBUFFORCE = 33
_ROOM = 8 * 1024 * 1024
_LONGEST = 128 * 1024
_STATUS = Path("/proc/self/net/netfilter/nfnetlink_queue")

NO_QUEUE = (
    "this kernel has no packet queue (nfnetlink_queue), on which faults rest: modprobe nfnetlink_queue, or a "
    "kernel with CONFIG_NETFILTER_NETLINK_QUEUE"
)
NOT_PERMITTED = "this user may not take a packet queue here; it takes root, or the capability CAP_NET_ADMIN"


class Queue:
    """A queue; its context takes it, and the kernel takes it back when the process ends, however it ends."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)

    def __enter__(self) -> Self:
        """Take the queue.

        Raises:
            MachineError: this kernel has none, or this user may not.
            NodeError: another process has it.
        """
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
        with contextlib.suppress(PermissionError):  # the kernel's default holds some 200 messages too
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        try:
            self._take()
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor that is readable when packets wait."""
        return self._socket.fileno()

    def packets(self) -> Iterator[QueuedPacket]:
        """The packets that wait now."""
        while True:
            try:
                data = self._socket.recv(_LONGEST)
            except BlockingIOError:
                return
            for said in nfqueue.read(data):
                if isinstance(said, QueuedPacket):
                    yield said

    def verdict(self, packet_id: int, *, passes: bool, octets: bytes | None = None) -> None:
        """Let a packet pass, as ``octets`` if given, or drop it; one that is gone already is no error."""
        self._socket.send(nfqueue.verdict(self.number, packet_id, passes=passes, octets=octets))

    def _take(self) -> None:
        self._socket.send(nfqueue.bind(self.number, most=MOST_WAITING))
        answers = 0
        while answers < nfqueue.BIND_ANSWERS:
            for said in nfqueue.read(self._socket.recv(_LONGEST)):
                if isinstance(said, Answer):
                    answers += 1
                    self._judge(said.error)

    def _judge(self, error: int) -> None:
        if error == errno.EBUSY or (error == errno.EPERM and self._is_taken()):
            raise errors.NodeError("a fault engine is at work in this node already; there can be one")
        if error == errno.EPERM:
            raise errors.MachineError(NOT_PERMITTED)
        if error in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT):
            raise errors.MachineError(NO_QUEUE)
        if error:
            raise errors.NodeError(f"cannot take packet queue {self.number}: {os.strerror(error)}")

    def _is_taken(self) -> bool:
        """Whether another process has the queue, to which the kernel answers EPERM too."""
        return any(line.split()[0] == str(self.number) for line in _STATUS.read_text().splitlines())
