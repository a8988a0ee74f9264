"""What an SA has carried, and the limits of it."""

from __future__ import annotations

from typing import Literal

from nodes.esp.sa import Direction, EspSa, LimitReached, Usage

_UNLIMITED = 1 << 64

Unit = Literal["packets", "octets"]
Severity = Literal["soft", "hard"]


class Lifetime:
    """Counts what an SA carries, and tells once of each limit that it reaches.

    Args:
        last_sequence: the last sequence number there is; a hard limit that no SA is without.
    """

    def __init__(self, sa: EspSa, direction: Direction, last_sequence: int) -> None:
        self._spi, self._direction = sa.spi, direction
        self.packets = 0
        self.octets = 0
        self.auth_failures = 0
        self.replays = 0
        self.refused = 0
        self.last_ns = 0
        self.expired = False
        limits = sa.limits
        self._open: list[tuple[Unit, Severity, int]] = [
            ("packets", "soft", limits.soft_packets or _UNLIMITED),
            ("octets", "soft", limits.soft_octets or _UNLIMITED),
            ("packets", "hard", min(limits.hard_packets or _UNLIMITED, last_sequence)),
            ("octets", "hard", limits.hard_octets or _UNLIMITED),
        ]
        self._packets_due = self._octets_due = 0
        self._set_due()

    def count(self, octets: int, now_ns: int) -> bool:
        """Count a packet; whether a limit is reached by it, which :meth:`reached` then tells."""
        self.packets += 1
        self.octets += octets
        self.last_ns = now_ns
        return self.packets >= self._packets_due or self.octets >= self._octets_due

    def reached(self, now_ns: int) -> list[LimitReached]:
        """The limits that are reached and were not told of yet."""
        carried = {"packets": self.packets, "octets": self.octets}
        over = [limit for limit in self._open if carried[limit[0]] >= limit[2]]
        self._open = [limit for limit in self._open if limit not in over]
        self._set_due()
        self.expired = self.expired or any(severity == "hard" for _, severity, _ in over)
        return [
            LimitReached(self._spi, self._direction, unit, severity, now_ns) for unit, severity, _ in over
        ]

    def usage(self) -> Usage:
        """The counts as they are."""
        return Usage(
            packets=self.packets,
            octets=self.octets,
            auth_failures=self.auth_failures,
            replays=self.replays,
            refused=self.refused,
            last_ns=self.last_ns,
        )

    def _set_due(self) -> None:
        self._packets_due = min((n for unit, _, n in self._open if unit == "packets"), default=_UNLIMITED)
        self._octets_due = min((n for unit, _, n in self._open if unit == "octets"), default=_UNLIMITED)
