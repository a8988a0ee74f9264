"""A socket to rtnetlink for changes. The kernel has made one when ``send`` returns: nothing here waits."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

from nodes import errors, netlink

_NETLINK_ROUTE = 0
_LONGEST = 64 * 1024


class RouteRefusedError(errors.NodeError):
    """The kernel refused a change of addresses, routes or neighbours; ``number`` is its errno."""

    def __init__(self, number: int) -> None:
        super().__init__(f"rtnetlink refused a change: {os.strerror(number)}")
        self.number = number


class RouteSocket:
    """Makes changes, one at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
        self._sequence = 0

    def __enter__(self) -> Self:
        self._socket.bind((0, 0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def change(self, message: Callable[[int], bytes], *, but: Collection[int] = ()) -> None:
        """Make a change.

        Args:
            message: makes it, with the sequence number that it is given.
            but: these errnos are no errors.

        Raises:
            RouteRefusedError: the kernel refused.
        """
        self._sequence += 1
        self._socket.send(message(self._sequence))
        while True:
            for said in netlink.messages(self._socket.recv(_LONGEST)):
                if said.kind == netlink.ERROR and said.sequence == self._sequence:
                    if said.error and said.error not in but:
                        raise RouteRefusedError(said.error)
                    return
