"""Timers on an injected clock, without I/O."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

_FEW = 256


class Timer:
    """Something that is due once; :meth:`cancel` makes it never."""

    __slots__ = ("_action", "when")

    def __init__(self, when: float, action: Callable[[], None]) -> None:
        self.when = when
        self._action: Callable[[], None] | None = action

    @property
    def pending(self) -> bool:
        """Whether it is still to come."""
        return self._action is not None

    def cancel(self) -> None:
        """Let it never be due; after it was, nothing happens."""
        self._action = None

    def fire(self) -> None:
        """Do what was to be done, once."""
        action, self._action = self._action, None
        if action is not None:
            action()


class Timers:
    """Timers in the order in which they are due."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._most = _FEW

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Do ``action`` at ``when``, in the seconds of whoever runs this."""
        timer = Timer(when, action)
        if len(self._heap) >= self._most:  # those that were cancelled long before they are due
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapq.heapify(self._heap)
            self._most = max(_FEW, 2 * len(self._heap))
        heapq.heappush(self._heap, (when, next(self._numbers), timer))
        return timer

    def next_due(self) -> float | None:
        """When the next one is due; None: there is none."""
        while self._heap and not self._heap[0][2].pending:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Do all that is due by ``now``, in order."""
        while (due := self.next_due()) is not None and due <= now:
            heapq.heappop(self._heap)[2].fire()

    def __len__(self) -> int:
        """How many are kept, those that were cancelled and not yet due among them."""
        return len(self._heap)
