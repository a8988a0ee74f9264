"""A run's times as the page has them: milliseconds since the run began, to the microsecond."""

from __future__ import annotations

import dataclasses

import numpy as np

from orchestrator.capture.pcapng import Offsets, Packets
from orchestrator.evidence.read import Capture, ReadEvidence


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """The packets of the capture on the run's clock.

    Attributes:
        packets: as they stand in the file.
        time_ns: when each was seen, CLOCK_MONOTONIC.
        order: their indices in the order of time, as several interfaces may not be.
    """

    packets: Packets
    time_ns: Offsets
    order: Offsets

    @classmethod
    def of(cls, capture: Capture) -> Frames:
        """The packets of ``capture``."""
        return cls.at(capture.packets, capture.offset_ns)

    @classmethod
    def at(cls, packets: Packets, offset_ns: int) -> Frames:
        """``packets``, whose times are on the run's clock once ``offset_ns`` is taken from them."""
        time_ns = packets.time_ns - offset_ns
        return cls(packets=packets, time_ns=time_ns, order=np.argsort(time_ns, kind="stable"))

    def number_before(self, time_ns: int) -> int:
        """The number of the last packet up to a moment; 0 where there is none."""
        at = int(np.searchsorted(self.time_ns, time_ns, side="right", sorter=self.order))
        return int(self.order[at - 1]) + 1 if at else 0

    def numbers_within(self, start_ns: int, end_ns: int) -> tuple[int, int] | None:
        """The least and the greatest number of the packets of a time; None where there is none."""
        begin = int(np.searchsorted(self.time_ns, start_ns, side="left", sorter=self.order))
        end = int(np.searchsorted(self.time_ns, end_ns, side="right", sorter=self.order))
        those = self.order[begin:end]
        return (int(those.min()) + 1, int(those.max()) + 1) if len(those) else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clock:
    """Turns CLOCK_MONOTONIC into the page's time."""

    origin_ns: int

    @classmethod
    def of(cls, evidence: ReadEvidence) -> Clock:
        """The clock of a run."""
        return cls(origin_ns=evidence.run.origin_ns)

    def ms(self, time_ns: int) -> float:
        """Milliseconds since the run began."""
        return round((time_ns - self.origin_ns) / 1e6, 3)
