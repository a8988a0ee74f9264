"""``python -m nodes.address_changes ORDER``: changes a node's address on a schedule, for mechanisms not ours.

At each moment of the schedule the next address is added and the one before it is deprecated; after the
overlap that one is deleted, as if its valid lifetime had ended. With ``mptcp`` the kernel's Multipath TCP is
driven by ``ip mptcp`` as one would by hand, make before break: the new endpoint is added, its subflows are
waited for, beyond the overlap where they need longer, then the old endpoint is deleted, and with it its
subflows, before the address goes.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Annotated

import msgspec

from nodes import errors
from nodes.events import event
from nodes.program import DONE, READY, run, say

_ENDPOINT_IDS = 250
_MOST_SUBFLOWS = "8"
_MAKE_SECONDS = 10.0
"""After which the break comes without the subflows."""
_LOOK_SECONDS = 0.2
"""The longest that a subflow goes unnoticed whose event came before the monitor listened."""


class AddressChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do.

    Attributes:
        interface: that has the addresses.
        first: the address that it has now, with its prefix length.
        seconds: the addresses that follow, likewise, one a change.
        period: from one change to the next, s.
        overlap: how long both addresses are there, s; less than the period.
        mptcp: how many MPTCP connections there are to take along; 0 leaves MPTCP alone.
    """

    interface: str
    first: str
    seconds: tuple[str, ...]
    period: Annotated[float, msgspec.Meta(gt=0, le=3600)]
    overlap: Annotated[float, msgspec.Meta(ge=0, le=3600)]
    mptcp: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0

    def __post_init__(self) -> None:
        """Refuse an overlap that lasts into the next change."""
        if self.overlap >= self.period:
            raise ValueError("overlap must be shorter than period")


class _ToldToEnd(Exception):
    pass


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise errors.NodeError(f"{' '.join(command)}: {' '.join(done.stderr.split())}")
    return done.stdout


def _ip(*words: str) -> None:
    _run("ip", *words)


def _until(due: float) -> None:
    """Return at ``due`` (s, CLOCK_MONOTONIC).

    Raises:
        _ToldToEnd: the standard input ended before.
    """
    while (left := due - time.monotonic()) > 0:
        if select.select([0], [], [], left)[0] and not os.read(0, 4096):
            raise _ToldToEnd


class _Mptcp:
    """The path manager's endpoints, as ``ip mptcp`` shows and changes them."""

    def __init__(self, order: AddressChanges, monitor: subprocess.Popen[bytes]) -> None:
        self._order = order
        self._monitor = monitor
        self._id = 0

    def add(self, address: str) -> None:
        """Offer the address to every connection, which then has a subflow from there."""
        self._id = self._id % _ENDPOINT_IDS + 1
        _ip("mptcp", "endpoint", "add", address, "dev", self._order.interface, "id", str(self._id), "subflow")

    def wait_for_subflows(self, address: str) -> int:
        """How many connections have a subflow from the address; returns once all have, or after a while."""
        deadline = time.monotonic() + _MAKE_SECONDS
        while (there := _established(address)) < self._order.mptcp and time.monotonic() < deadline:
            self._wait_for_an_event()
        return there

    def delete(self, address: str, number: int) -> None:
        """Take an endpoint and its subflows away; number 0 is that of the connection's first subflow."""
        of_first = [address] if number == 0 else []
        _ip("mptcp", "endpoint", "delete", "id", str(number), *of_first)

    @property
    def newest(self) -> int:
        """The endpoint that was added last; 0 before."""
        return self._id

    def _wait_for_an_event(self) -> None:
        assert self._monitor.stdout is not None
        fd = self._monitor.stdout.fileno()
        if select.select([fd], [], [], _LOOK_SECONDS)[0] and not os.read(fd, 65_536):
            raise errors.NodeError("ip mptcp monitor: ended")


def _established(address: str) -> int:
    return len(_run("ss", "-Htn", "state", "established", "src", f"[{address}]").splitlines())


@contextlib.contextmanager
def _mptcp(order: AddressChanges) -> Iterator[_Mptcp | None]:
    if not order.mptcp:
        yield None
        return
    _ip("mptcp", "limits", "set", "subflows", _MOST_SUBFLOWS, "add_addr_accepted", _MOST_SUBFLOWS)
    with subprocess.Popen(
        ["stdbuf", "-oL", "ip", "mptcp", "monitor"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as monitor:
        try:
            yield _Mptcp(order, monitor)
        finally:
            monitor.kill()


def _change(order: AddressChanges, old: str, new: str, mptcp: _Mptcp | None) -> None:
    old_address, new_address = (one.partition("/")[0] for one in (old, new))
    ends = time.monotonic() + order.overlap
    _ip("-6", "address", "add", new, "dev", order.interface, "nodad")
    say(event("address.added", address=new_address))
    _ip("-6", "address", "change", old, "dev", order.interface, "preferred_lft", "0", "valid_lft", "forever")
    say(event("address.deprecated", address=old_address))
    if mptcp is not None:
        number = mptcp.newest
        mptcp.add(new_address)
        there = mptcp.wait_for_subflows(new_address)
        say(event("mptcp.subflows", address=new_address, established=there, expected=order.mptcp))
        _until(ends)
        mptcp.delete(old_address, number)
    _until(ends)
    _ip("-6", "address", "delete", old, "dev", order.interface)
    say(event("address.removed", address=old_address))


def main() -> None:
    """Change the address as the order says, and stay until told to end."""
    try:
        (text,) = sys.argv[1:]
        order = msgspec.json.decode(text, type=AddressChanges)
    except (ValueError, msgspec.DecodeError) as error:
        raise errors.ParameterError(f"address changes: not an order: {error}") from None
    changed = 0
    with _mptcp(order) as mptcp:
        start = time.monotonic()
        say(event(READY))
        old = order.first
        with contextlib.suppress(_ToldToEnd):
            for number, new in enumerate(order.seconds, 1):
                _until(start + number * order.period)
                _change(order, old, new, mptcp)
                changed, old = changed + 1, new
    say(event(DONE, changed=changed))


if __name__ == "__main__":
    run(main)
