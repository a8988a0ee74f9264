"""What the program is told on its standard input: to end, and, for a receiver, how much is still to come."""

from __future__ import annotations

import os

import msgspec

from nodes import errors


class Orders(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order, as one JSON line. ``expected``: the probes that the sender handed over before it ended."""

    expected: int


class OrderReader:
    """Reads orders without ever waiting for one.

    Attributes:
        fd: to wait on.
        ended: the input was closed: the program is to end.
        expected: the probes that were handed over, once told.
    """

    def __init__(self, fd: int = 0) -> None:
        self.fd = fd
        self.ended = False
        self.expected: int | None = None
        self._rest = b""

    def read(self) -> None:
        """Take in what is there; to be called once :attr:`fd` is readable.

        Raises:
            ProtocolError: a line that is no order.
        """
        data = os.read(self.fd, 4096)
        if not data:
            self.ended = True
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                self.expected = msgspec.json.decode(line, type=Orders).expected
            except msgspec.DecodeError as error:
                raise errors.ProtocolError(f"not an order: {error}") from None
