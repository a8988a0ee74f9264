"""A socket to nf_tables: transactions, and what a set holds.

The kernel has done what it was told when ``send`` returns, answers included: nothing here waits. A
transaction of a few elements takes it some tens of microseconds, where starting ``nft`` takes milliseconds.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from nodes import errors
from nodes.terminal import nf_tables
from nodes.terminal.nf_tables import Done, Element, Message, Reply

_NETLINK_NETFILTER = 12
_SNDBUFFORCE, _RCVBUFFORCE = 32, 33
"""Options of SOL_SOCKET that Python has no names for."""
_LONGEST = 256 * 1024
_ROOM = 4 * 1024 * 1024
_MOST_TRIES = 10
_MEANS = {
    errno.ENFILE: "one of its sets has as many elements as it may have",
    errno.EMSGSIZE: "too many elements at once for the socket's buffer; raise net.core.wmem_max",
}
"""What an errno says here, where its own text would mislead."""


class RefusedError(errors.NodeError):
    """The kernel refused a transaction, and nothing of it is in force; ``number`` is its errno."""

    def __init__(self, number: int) -> None:
        super().__init__(f"nf_tables refused a change: {_MEANS.get(number) or os.strerror(number)}")
        self.number = number


class NfSocket:
    """A socket to nf_tables; a table made as its owner's goes with it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._sequence = 0

    def __enter__(self) -> Self:
        """Open.

        Raises:
            MachineError: this user may not change nf_tables, or the kernel has none.
        """
        self._socket.bind((0, 0))
        for option, forced in ((socket.SO_SNDBUF, _SNDBUFFORCE), (socket.SO_RCVBUF, _RCVBUFFORCE)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, forced, _ROOM)
            except PermissionError:  # only the machine's own root gets more than net.core.*mem_max
                self._socket.setsockopt(socket.SOL_SOCKET, option, _ROOM)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close; idempotent."""
        self._socket.close()

    def apply(self, messages: Sequence[Message]) -> None:
        """Bring all of the messages into force in one moment, or none of them.

        Raises:
            RefusedError: none of them is in force.
        """
        if not messages:
            return
        first, self._sequence = self._sequence, self._sequence + len(messages) + 2
        try:
            self._socket.send(nf_tables.batch(messages, first=first))
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            raise RefusedError(errno.EMSGSIZE) from None
        for said in self._answers():
            if isinstance(said, Reply) and said.error:
                _ = list(self._answers())  # the rest of the answers would be taken for the next batch's
                raise RefusedError(said.error)

    def elements(self, table: str, name: str) -> list[Element]:
        """What a set holds.

        Raises:
            RefusedError: the kernel refused, with ENOENT where there is no such set or table.
        """
        for _ in range(_MOST_TRIES):
            found, error = self._dump(table, name)
            if error == 0:
                break
            if error != errno.EINTR:  # it changed while it was read
                raise RefusedError(error)
        return found

    def _dump(self, table: str, name: str) -> tuple[list[Element], int]:
        self._sequence += 1
        self._socket.send(nf_tables.get_elements(table, name, sequence=self._sequence))
        found: list[Element] = []
        while True:
            for said in nf_tables.read(self._socket.recv(_LONGEST)):
                if not isinstance(said, Element):
                    return found, said.error
                found.append(said)

    def _answers(self) -> Iterator[Element | Reply | Done]:
        while True:
            try:
                data = self._socket.recv(_LONGEST, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield from nf_tables.read(data)
