"""What to show where there is not room for all: what is near an interruption first. No I/O."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

NEAR_MS = 1_000.0
"""What is so near to an interruption is shown before other things."""
RARE = 200
"""The things of a kind that are all shown, however many others there are."""

Matters = Callable[[float], bool]
"""Whether what happened at a moment, in ms since the run began, is to be shown before other things."""


def near(spans: Iterable[tuple[float, float]]) -> Matters:
    """Whether a moment is in one of the spans, or near one."""
    ordered = sorted(spans)
    starts = [start for start, _ in ordered]
    ends = list(accumulate((end for _, end in ordered), max))

    def matters(ms: float) -> bool:
        before = bisect_right(starts, ms + NEAR_MS)
        return before > 0 and ends[before - 1] >= ms - NEAR_MS

    return matters


def sample(important: Sequence[bool], most: int) -> list[int]:
    """The indices of at most ``most`` things: the important ones, and of the others some at even distances.

    Where there are too many important ones, a quarter stays for the others all the same.
    """
    first = [index for index, one in enumerate(important) if one]
    others = [index for index, one in enumerate(important) if not one]
    kept = _evenly(first, most - min(len(others), most // 4))
    return sorted([*kept, *_evenly(others, most - len(kept))])


def fitting(events: Sequence[Mapping[str, Any]], matters: Matters, octets: int) -> list[Mapping[str, Any]]:
    """All events, or as many as there is room for as JSON: those of rare kinds first."""
    sizes = [len(json.dumps(one)) + 2 for one in events]
    if sum(sizes) <= octets:
        return list(events)
    kinds = Counter(one["kind"] for one in events)
    important = [kinds[one["kind"]] <= RARE or matters(one["t"]) for one in events]
    most = octets * len(events) // sum(sizes)
    chosen = sample(important, most)
    while sum(sizes[index] for index in chosen) > octets:
        most = most * 9 // 10
        chosen = sample(important, most)
    return [events[index] for index in chosen]


def _evenly(indices: Sequence[int], most: int) -> list[int]:
    if len(indices) <= most:
        return list(indices)
    if most < 2:
        return list(indices[: max(most, 0)])
    return [indices[k * (len(indices) - 1) // (most - 1)] for k in range(most)]
