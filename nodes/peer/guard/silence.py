"""The states in effect: what the machine says, put into the kernel's filter, the file and the stream."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anyio
import anyio.abc

from nodes.abnormality.machine import Change, Machine, Reason, Side
from nodes.abnormality.model import PartnerState, partner_state
from nodes.peer.guard import filter as words
from nodes.peer.guard import snapshot
from nodes.peer.guard.nft import Nft
from nodes.role import Publish

INACTIVE, ACTIVE = "abnormality.inactive", "abnormality.active"

LATE = 0.02
"""Seconds from the evidence until the partner's other messages are dropped: charon's own notify gets out."""
PATIENCE = 2.0
"""Seconds that charon has at most to say its last words, a DELETE."""
_NS_PER_MS = 1_000_000


class Silence:
    """Who is kept silent, and for how long.

    Args:
        machine: the states.
        nft: where the table is, put in already.
        saved: the file for a restarted guard.
        say: puts an event on the stream.
        tasks: what is done a moment later.
    """

    def __init__(
        self, machine: Machine, nft: Nft, saved: Path, say: Publish, tasks: anyio.abc.TaskGroup
    ) -> None:
        self._machine = machine
        self._nft = nft
        self._saved = saved
        self._say = say
        self._tasks = tasks
        self._rescheduled = anyio.Event()
        self._carrying: frozenset[str] | None = None
        self._held_back: set[str] = set()

    @property
    def partners(self) -> frozenset[str]:
        """The partners of loaded connections."""
        return self._machine.known

    def take_up(self) -> None:
        """Begin, with what an earlier guard left."""
        self._nft.run(words.know(self._machine.known))
        self._apply(self._machine.restore(snapshot.load(self._saved), now_ns()))

    def know(self, partners: Iterable[str]) -> None:
        """Take these addresses for the partners."""
        self._machine.know(partners)
        self._nft.run(words.know(self._machine.known))

    def abnormal(
        self, partner: str, side: Side, reason: str, *, until: anyio.Event | None = None, **about: Any
    ) -> bool:
        """A negotiation was abnormal; returns whether the side was active until now.

        With ``until`` charon has something to say still: the rest is dropped only after that.
        """
        changes = self._machine.abnormal(partner, side, reason, now_ns())
        self._apply(changes, until, **about)
        return bool(changes)

    def activate(self, partner: str | None, reason: Reason) -> list[Change]:
        """Make a partner, or all, active; returns the sides that became so."""
        changes = self._machine.activate(partner, reason, now_ns())
        self._apply(changes)
        return changes

    def succeeded(self, partner: str) -> None:
        """A negotiation with a partner came to its end."""
        self._apply(self._machine.succeeded(partner, now_ns()))

    def mended(self, partner: str) -> bool:
        """The sender says that it is mended; returns whether the receiver was inactive and is not now."""
        changes = self._machine.mended(partner, now_ns())
        self._apply(changes)
        return bool(changes)

    def is_inactive(self, partner: str, side: Side) -> bool:
        """Whether a side is inactive towards a partner."""
        return self._machine.is_inactive(partner, side, now_ns())

    def states(self) -> list[PartnerState]:
        """What is remembered."""
        now = now_ns()
        return [partner_state(record, now) for record in self._machine.records()]

    def hold_back(self, partner: str) -> None:
        """Let no other negotiation begin beside one that the partner does not answer."""
        if not self.is_inactive(partner, Side.SENDER) and partner not in self._held_back:
            self._held_back.add(partner)
            self._nft.run(words.shut("closed", Side.SENDER, partner, words.HELD_BACK_MS))

    def let_begin(self, partner: str) -> None:
        """That negotiation is over, one way or the other."""
        if partner in self._held_back:
            self._held_back.discard(partner)
            if not self.is_inactive(partner, Side.SENDER):
                self._nft.run(words.open_(Side.SENDER, partner))

    def carry(self, spis: frozenset[str]) -> None:
        """Let the IKE SAs with these initiator's SPIs pass, whatever comes."""
        if spis != self._carrying:
            self._nft.run(words.carry(sorted(spis)[: words.MOST]))
            self._carrying = spis

    def began(self, spis: Iterable[str]) -> None:
        """These negotiations are this node's own, from before there was a table."""
        self._nft.run(words.began(spis))

    async def watch_time(self) -> None:
        """Make active whose time is over, until cancelled."""
        while True:
            self._rescheduled = anyio.Event()
            due = self._machine.next_due_ns
            with anyio.move_on_after(None if due is None else max(0.0, (due - now_ns()) / 1e9)):
                await self._rescheduled.wait()
            self._apply(self._machine.due(now_ns()))

    def _apply(self, changes: list[Change], until: anyio.Event | None = None, **about: Any) -> None:
        """Put changes into effect: new negotiations are refused at once, all else :data:`LATE`."""
        for change in changes:
            if change.side is Side.SENDER:
                self._held_back.discard(change.partner)  # the filter does now what the change says
            self._say(ACTIVE if change.active else INACTIVE, **change.said() | about)
            if change.active:
                self._nft.run(words.open_(change.side, change.partner))
                continue
            self._nft.run(words.shut("closed", change.side, change.partner, change.for_ns // _NS_PER_MS))
            if change.reason == Reason.RESTORED:
                self._mute(change)
            elif until is None:
                self._tasks.start_soon(self._mute_late, change)
            else:
                self._tasks.start_soon(self._mute_after, change, until)
        if changes:
            snapshot.save(self._saved, self._machine.snapshot())
            self._rescheduled.set()

    async def _mute_after(self, change: Change, until: anyio.Event) -> None:
        with anyio.move_on_after(PATIENCE):
            await until.wait()
        await self._mute_late(change)

    async def _mute_late(self, change: Change) -> None:
        await anyio.sleep(LATE)
        self._mute(change)

    def _mute(self, change: Change) -> None:
        now = now_ns()
        if self._machine.is_inactive(change.partner, change.side, now):
            left = (change.until_ns - now) // _NS_PER_MS
            self._nft.run(words.shut("inactive", change.side, change.partner, left))


def now_ns() -> int:
    """CLOCK_MONOTONIC."""
    return time.monotonic_ns()
