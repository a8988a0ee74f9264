"""The samples of a run as series over time, one for each figure of each program or kernel. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nodes.events import Event
from nodes.resources import SAMPLE

MEMORY = "memory_kib"
EVENTS = "events kept"
ORCHESTRATOR = "orchestrator"
"""What samples without a node call the process that runs the testbed."""


class Key(NamedTuple):
    """Whose figure it is; ``node`` is empty for the orchestrator, ``program`` for a node's kernel and SAs."""

    node: str
    program: str
    figure: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.node, self.program)))


@dataclasses.dataclass(frozen=True)
class Series:
    """One figure over time: seconds since the first sample of the run, and values."""

    key: Key
    seconds: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]


def series_of(events: Iterable[Event]) -> list[Series]:
    """Every series, in the order of its first sample.

    A program that one sample of its node does not have holds nothing at that time.
    """
    samples = [event for event in events if event.kind == SAMPLE]
    begin = min((event.time_ns for event in samples), default=0)
    points: dict[Key, dict[float, float]] = {}
    whole: dict[str, list[float]] = {}
    for event in samples:
        seconds = (event.time_ns - begin) / 1e9
        for figure, value in event.data["kernel"].items():
            points.setdefault(Key(event.node, "", figure), {})[seconds] = value
        if event.data["programs"]:
            whole.setdefault(event.node, []).append(seconds)
        for program, held in event.data["programs"].items():
            for figure, value in held.items():
                points.setdefault(Key(event.node, program, figure), {})[seconds] = value
    return [_series(key, found, whole.get(key.node, [])) for key, found in points.items()]


def _series(key: Key, points: dict[float, float], looks: list[float]) -> Series:
    times = looks if key.program else sorted(points)
    values = [points.get(seconds, 0.0) for seconds in times]
    return Series(key, np.array(times, dtype=np.float64), np.array(values, dtype=np.float64))
