"""For how long a side falls silent, and when that is a mistake."""

from __future__ import annotations

import math

from msgspec import Struct

LONGEST = 86_400.0
"""The longest time, in seconds, that a side may be silent: a day."""
CEILING = 3600.0
"""Up to where the times grow, where nobody says more."""
STEEPEST = 100.0


class Timing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The set times of the method, in seconds.

    Attributes:
        t1: how long the receiver of an abnormal negotiation is inactive (the seed's first set time).
        t2: how long its sender is (the second set time).
        growth: by how much the times grow with each repetition without a success in between; 1: not at all.
        ceiling: what they grow to at most; None: an hour, or the longer of ``t1`` and ``t2`` if that is more.

    Raises ``ValueError`` on construction where a value is no time, or out of its range.
    """

    t1: float = 30.0
    t2: float = 30.0
    growth: float = 1.0
    ceiling: float | None = None

    def __post_init__(self) -> None:
        for name in ("t1", "t2"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 < value <= LONGEST):
                raise ValueError(
                    f"{name} is {value:g} s; it must be more than 0 and at most {LONGEST:g} s, a day"
                )
        if not (math.isfinite(self.growth) and 1 <= self.growth <= STEEPEST):
            raise ValueError(f"growth is {self.growth:g}; it must be from 1 (none) to {STEEPEST:g}")
        longer = max(self.t1, self.t2)
        if self.ceiling is not None and not (longer <= self.ceiling <= LONGEST):
            raise ValueError(
                f"ceiling is {self.ceiling:g} s; it must be at least {longer:g} s, the longer of t1 and t2, "
                f"and at most {LONGEST:g} s, a day"
            )

    @property
    def most(self) -> float:
        """What the times grow to at most, s."""
        return max(CEILING, self.t1, self.t2) if self.ceiling is None else self.ceiling

    def receiver(self, repetition: int) -> float:
        """How long a receiver is inactive, s, after this many abnormal negotiations in a row (from 1)."""
        return self._grown(self.t1, repetition)

    def sender(self, repetition: int) -> float:
        """How long a sender is inactive, s, likewise."""
        return self._grown(self.t2, repetition)

    def _grown(self, time: float, repetition: int) -> float:
        if self.growth == 1:
            return time
        # asked before the power is taken, which overflows near 1e308
        if repetition - 1 >= math.log(self.most / time) / math.log(self.growth):
            return self.most
        return min(time * float(self.growth ** (repetition - 1)), self.most)

    def warnings(self) -> tuple[str, ...]:
        """What is allowed and yet hardly meant."""
        if self.t2 >= self.t1:
            return ()
        return (
            f"t2 ({self.t2:g} s) is shorter than t1 ({self.t1:g} s): the sender tries again while the "
            "receiver is still inactive, and retransmits into silence; t2 should be at least t1",
        )
