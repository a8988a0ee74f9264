"""The capture of one node, read once for all flows that have an end there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from nodes import errors
from orchestrator.capture.classify import classify
from orchestrator.capture.pcapng import read_file
from orchestrator.evidence.run_file import CaptureFile
from orchestrator.reconciliation.datagrams import Datagrams
from orchestrator.reconciliation.stream import Segments

CLOCK_STEP_NS = 100_000
"""If the wall clock was set by more than this during a capture, its times are not compared."""


class NodeCapture:
    """A capture, with times on the timeline.

    Attributes:
        clock_step_ns: by how much the wall clock was set meanwhile.
        incomplete: why a packet may be missing in it; empty where none can be.
        has_esp: whether any packet of it is ESP.

    Raises:
        UsageError: it cannot be read.
    """

    def __init__(self, path: Path, file: CaptureFile) -> None:
        self.clock_step_ns = file.clock_step_ns
        self.incomplete = [f"it dropped {file.dropped} packets"] if file.dropped else []
        unmarked = [interface.name for interface in file.interfaces if not interface.marked]
        self.incomplete += [f"its end on {name} is not proved by a mark" for name in unmarked]
        self._packets = read_file(path)
        self._headers = classify(self._packets)
        self._times_ns = self._packets.time_ns - file.clock_offset_ns
        self.has_esp = bool(self._headers.is_esp.any())

    @property
    def has_one_clock(self) -> bool:
        """Whether one offset puts all of its times on the timeline."""
        return abs(self.clock_step_ns) <= CLOCK_STEP_NS

    @cached_property
    def datagrams(self) -> Datagrams:
        """Its UDP packets."""
        return Datagrams(self._packets, self._headers, self._times_ns)

    @cached_property
    def segments(self) -> Segments:
        """Its TCP segments."""
        return Segments(self._packets, self._headers, self._times_ns)


class NodeCaptures:
    """The captures of an evidence folder, each read when it is first asked for.

    Args:
        captures: by place, with files relative to ``folder``.
    """

    def __init__(self, folder: Path, captures: Mapping[str, CaptureFile]) -> None:
        self._folder = folder
        self._captures = captures
        self._read: dict[str, NodeCapture] = {}

    def at(self, name: str) -> NodeCapture:
        """The capture at a node.

        Raises:
            UsageError: it cannot be read, or there is none.
        """
        if name not in self._captures:
            raise errors.UsageError(f"there is no capture at {name}")
        if name not in self._read:
            file = self._captures[name]
            self._read[name] = NodeCapture(self._folder / file.file, file)
        return self._read[name]
