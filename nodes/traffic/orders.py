"""What the program is told on its standard input: to end; to begin; and how much is still to come."""

from __future__ import annotations

import os
import select

import msgspec

from nodes import errors


class Orders(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order, as one JSON line.

    ``expected``, for a receiver: the probes that the sender handed over before it ended. ``begin``, for a
    sender that holds its probes: send them from now on.
    """

    expected: int | None = None
    begin: bool = False

    def __post_init__(self) -> None:
        if (self.expected is None) is not self.begin:
            raise ValueError("it says either expected or begin")


class OrderReader:
    """Reads orders without ever waiting for one.

    Attributes:
        fd: to wait on.
        ended: the input was closed: the program is to end.
        expected: the probes that were handed over, once told.
        begun: whether a sender was told to begin.
    """

    def __init__(self, fd: int = 0) -> None:
        self.fd = fd
        self.ended = False
        self.expected: int | None = None
        self.begun = False
        self._rest = b""

    def wait_to_begin(self) -> None:
        """Wait until told to begin, or to end.

        Raises:
            ProtocolError: a line that is no order.
        """
        while not (self.begun or self.ended):
            select.select([self.fd], [], [])
            self.read()

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
                order = msgspec.json.decode(line, type=Orders)
                self.expected = order.expected if order.expected is not None else self.expected
                self.begun |= order.begin
            except msgspec.DecodeError as error:
                raise errors.ProtocolError(f"not an order: {error}") from None
