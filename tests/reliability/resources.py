"""What this process and this machine hold at a moment, and whether that stays flat."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from machine import traces

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Sample(NamedTuple):
    """One moment.

    ``traces`` is what bears the id of a run that is over. Interfaces and mounts are the machine's, the rest
    is this process's.
    """

    seconds: float
    rss_kib: int
    descriptors: int
    threads: int
    children: int
    traces: int
    interfaces: int
    mounts: int


def sample(started: float, over: str) -> Sample:
    """This moment; ``started`` is of :func:`time.monotonic`, ``over`` the id of a run that is over."""
    own = Path("/proc/self")
    return Sample(
        seconds=round(time.monotonic() - started, 3),
        rss_kib=int((own / "statm").read_text().split()[1]) * _PAGE // 1024,
        descriptors=len(list((own / "fd").iterdir())),
        threads=len(list((own / "task").iterdir())),
        children=sum(len((task / "children").read_text().split()) for task in (own / "task").iterdir()),
        traces=len(traces(over)),
        interfaces=len(list(Path("/sys/class/net").iterdir())),
        mounts=len((own / "mounts").read_text().splitlines()),
    )


_OF_THE_MACHINE = ("interfaces", "mounts")
"""Others' come and go meanwhile; what a run left would stay, and lift the least too."""


class Trend(NamedTuple):
    """How a figure went: its level in the first and in the last fifth, and its peak.

    The level is the median; of the machine's figures the least.
    """

    name: str
    first: float
    last: float
    peak: float

    def is_flat(self, *, tolerance: float, slack: float) -> bool:
        """Whether the last fifth lies above the first by no more than a share of it, or by ``slack``."""
        return self.last - self.first <= max(self.first * tolerance, slack)


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Of every figure but the time."""
    fifth = max(1, len(samples) // 5)
    found = []
    for name in Sample._fields[1:]:
        values = [getattr(one, name) for one in samples]
        level = min if name in _OF_THE_MACHINE else statistics.median
        first, last = level(values[:fifth]), level(values[-fifth:])
        found.append(Trend(name, first, last, max(values)))
    return found


def curves(samples: Sequence[Sample], title: str) -> str:
    """The figures over time as a page with one curve each."""
    width, height = 900, 90
    end = samples[-1].seconds or 1.0
    parts = [f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1>"]
    for trend in trends(samples):
        top = trend.peak or 1
        points = " ".join(
            f"{one.seconds / end * width:.1f},{height - getattr(one, trend.name) / top * (height - 10):.1f}"
            for one in samples
        )
        parts.append(
            f"<h2>{trend.name}: {trend.first:g} first, {trend.last:g} last, {trend.peak:g} peak</h2>"
            f'<svg width={width} height={height} style="background:#f4f4f4">'
            f'<polyline fill=none stroke="#0060a0" stroke-width=1.5 points="{points}"/></svg>'
        )
    parts.append(f"<p>{len(samples)} samples in {end:.0f} s</p>")
    return "\n".join(parts)
