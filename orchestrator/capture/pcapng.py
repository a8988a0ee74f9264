"""Reads pcapng (draft-ietf-opsawg-pcapng) into arrays, one element a packet.

The chain of blocks can only be followed one after the other, for each says how long it is. So it is guessed,
a window of the file at a time: every word that could begin an Enhanced Packet Block is found at once, and
wherever the end of one is the beginning of the next, the guess is right for the whole run of them. What is no
such block, or only looks like one inside a packet, costs one step of its own.
"""

from __future__ import annotations

import dataclasses
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.capture.blocks import (
    ENHANCED_PACKET,
    INTERFACE_DESCRIPTION,
    INTERFACE_STATISTICS,
    SECTION_HEADER,
    SECTION_MINIMUM,
    UNREADABLE,
    Interface,
    PcapngError,
    Section,
    check_magic,
)

Octets = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]

_WINDOW = 1024 * 1024
"""Words that are searched for blocks at a time: 4 MiB, so that they are still in the cache when read."""
_EPB_HEADER = 28
_EPB_MINIMUM = _EPB_HEADER + 4
_EMPTY: dict[str, npt.NDArray[Any]] = {
    "start": np.empty(0, np.int64),
    "captured": np.empty(0, np.uint32),
    "original": np.empty(0, np.uint32),
    "time_ns": np.empty(0, np.int64),
    "interface": np.empty(0, np.uint32),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Packets:
    """The packets of a capture, in the order of the file: element ``i`` is packet ``i + 1`` to Wireshark.

    Attributes:
        file: the whole file; ``octets`` is the same as an array.
        start: where each packet's first octet is in ``octets``.
        captured: how many octets of it there are.
        original: how many it had on the wire.
        time_ns: when the kernel saw it, in ns since 1970 (CLOCK_REALTIME).
        interface: which of ``interfaces`` saw it.
        interfaces: of all sections, in the order of the file.
        application: what wrote the file, as it says itself.
        truncated_at: where a last block that is cut short begins, if there is one.
    """

    file: bytes | mmap.mmap
    octets: Octets
    start: Offsets
    captured: npt.NDArray[np.uint32]
    original: npt.NDArray[np.uint32]
    time_ns: Offsets
    interface: npt.NDArray[np.uint32]
    interfaces: tuple[Interface, ...]
    application: str
    truncated_at: int | None

    def __len__(self) -> int:
        return len(self.start)

    @property
    def dropped(self) -> int | None:
        """The packets that were dropped, as the file says; None where it does not.

        dumpcap counts those among them that came after it was told to end, and there was room for these.
        """
        counts = [interface.dropped for interface in self.interfaces]
        return sum(count for count in counts if count is not None) if None not in counts else None

    @property
    def link_type(self) -> npt.NDArray[np.uint16]:
        """The link type of each packet (LINKTYPE_ values)."""
        types = np.array([interface.link_type for interface in self.interfaces], np.uint16)
        return types[self.interface]

    def packet(self, number: int) -> bytes:
        """The captured octets of the packet that Wireshark calls ``number``."""
        begin = int(self.start[number - 1])
        return self.octets[begin : begin + int(self.captured[number - 1])].tobytes()


def read_file(path: Path, *, allow_truncated: bool = False) -> Packets:
    """Read a capture file; see :func:`read`."""
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: it is empty
        raise PcapngError(f"cannot read the capture: {error}", file=str(path)) from None
    return read(data, name=str(path), allow_truncated=allow_truncated)


def read(data: bytes | mmap.mmap, *, name: str = "capture", allow_truncated: bool = False) -> Packets:
    """Read a capture.

    Args:
        data: the file; the result refers to it.
        name: what errors call it.
        allow_truncated: end quietly before a last block that is cut short, as a capture that was killed has.

    Raises:
        PcapngError: it is no pcapng file, or a damaged one; the text says where.
    """
    try:
        return _Reader(data, allow_truncated).read()
    except PcapngError as error:
        raise error.of(name) from None


class _Reader:
    def __init__(self, data: bytes | mmap.mmap, allow_truncated: bool) -> None:
        self._file = data
        self._data = memoryview(data)
        self._octets = np.frombuffer(data, np.uint8)
        self._size = len(self._octets)
        self._allow_truncated = allow_truncated
        self._truncated_at: int | None = None
        self._sections: list[Section] = []
        self._columns: list[dict[str, npt.NDArray[Any]]] = [_EMPTY.copy()]
        self._interfaces = 0

    def read(self) -> Packets:
        check_magic(self._data)
        position = 0
        while position < self._size and self._truncated_at is None:
            position = self._section(position)
        if not self._sections:
            raise PcapngError("the file ends within its section header", offset=0)
        columns = {n: np.concatenate([c.pop(n) for c in self._columns]) for n in tuple(self._columns[0])}
        return Packets(
            file=self._file,
            octets=self._octets,
            interfaces=tuple(i for section in self._sections for i in section.interfaces),
            application=self._sections[0].application,
            truncated_at=self._truncated_at,
            start=columns["start"],
            captured=columns["captured"],
            original=columns["original"],
            time_ns=columns["time_ns"],
            interface=columns["interface"],
        )

    def _section(self, position: int) -> int:
        """Read the section whose header is at ``position``; return where it ends."""
        if position + SECTION_MINIMUM > self._size:
            return self._truncated(position)
        section = Section(self._data, position)
        if section.header_end > self._size:
            return self._truncated(position)
        self._sections.append(section)
        words = np.frombuffer(self._data, section.word, count=self._size // 4)
        position = section.header_end
        while position < self._size and self._truncated_at is None:
            if section.type_at(position) == SECTION_HEADER:
                break
            position = self._window(section, words, position)
        self._interfaces += len(section.interfaces)
        return position

    def _window(self, section: Section, words: Words, position: int) -> int:
        """Read the blocks that begin in the window from ``position`` on; return where the next one begins."""
        starts, ends = _candidates(words, position, self._size)
        breaks = np.flatnonzero(ends[:-1] != starts[1:])
        window_end = min(position + 4 * _WINDOW, self._size)
        runs: list[Offsets] = []
        described: list[int] = []
        while position < window_end and self._truncated_at is None:
            first = int(np.searchsorted(starts, position))
            if first < len(starts) and starts[first] == position:
                later = int(np.searchsorted(breaks, first))
                last = int(breaks[later]) if later < len(breaks) else len(starts) - 1
                runs.append(starts[first : last + 1])
                described.append(len(section.interfaces))
                position = int(ends[last])
            elif section.type_at(position) == SECTION_HEADER:
                break
            else:
                position = self._block(section, position)
        if runs:
            known = np.repeat(described, [len(run) for run in runs])
            self._columns.append(self._packets(section, words, np.concatenate(runs), known))
        return position

    def _packets(
        self, section: Section, words: Words, begin: Offsets, known: Offsets
    ) -> dict[str, npt.NDArray[Any]]:
        """The columns of the Enhanced Packet Blocks at ``begin``, each after ``known`` interfaces."""
        header = words[(begin // 4)[:, None] + np.arange(1, _EPB_HEADER // 4)].astype(np.uint32)
        length, interface, high, low, captured, original = header.T
        _refuse(interface >= known, begin, "a packet of an interface that is not described")
        _refuse(captured > length - np.uint32(_EPB_MINIMUM), begin, "a packet longer than its block")
        ticks = high.astype(np.uint64) << np.uint64(32) | low
        time_ns = np.zeros(len(begin), np.int64)
        for index in np.unique(interface):
            mine = interface == index
            time_ns[mine] = section.interfaces[index].clock.nanoseconds(ticks[mine], begin[mine])
        return {
            "start": begin + _EPB_HEADER,
            "captured": captured,
            "original": original,
            "time_ns": time_ns,
            "interface": interface + np.uint32(self._interfaces),
        }

    def _block(self, section: Section, position: int) -> int:
        """Take the one block at ``position``, which is no sound Enhanced Packet Block; return its end."""
        if position + 12 > self._size:
            return self._truncated(position)
        length = section.length_at(position)
        if position + length > self._size:
            return self._truncated(position)
        section.check_block(position, length)
        kind = section.type_at(position)
        if kind == INTERFACE_DESCRIPTION:
            section.describe_interface(position, length)
        elif kind == INTERFACE_STATISTICS:
            section.take_statistics(position, length)
        elif kind in UNREADABLE:
            raise PcapngError(f"{UNREADABLE[kind]} cannot be analysed", offset=position)
        elif kind == ENHANCED_PACKET:
            raise PcapngError(f"an Enhanced Packet Block of {length} octets is too short", offset=position)
        return position + length

    def _truncated(self, position: int) -> int:
        if not self._allow_truncated:
            raise PcapngError("the file ends within the block that begins here", offset=position)
        self._truncated_at = position
        return self._size


def _candidates(words: Words, position: int, size: int) -> tuple[Offsets, Offsets]:
    """Where Enhanced Packet Blocks may begin in the window from ``position`` on, and where each would end."""
    first = position // 4
    at = np.flatnonzero(words[first : first + _WINDOW] == ENHANCED_PACKET) + first
    at = at[at + 1 < len(words)]
    length = words[at + 1].astype(np.int64)
    end = at * 4 + length
    sound = (length >= _EPB_MINIMUM) & (length % 4 == 0) & (end <= size)
    at, length, end = at[sound], length[sound], end[sound]
    sound = words[end // 4 - 1] == length
    return at[sound] * 4, end[sound]


def _refuse(wrong: npt.NDArray[np.bool_], begin: Offsets, text: str) -> None:
    if wrong.any():
        raise PcapngError(text, offset=int(begin[np.argmax(wrong)]))
