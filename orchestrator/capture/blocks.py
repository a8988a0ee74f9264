"""The blocks of a pcapng section that are no packets: its header, its interfaces, their statistics."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nodes import errors

SECTION_HEADER = 0x0A0D0D0A
SECTION_MINIMUM = 28
"""Octets of the shortest section header."""
INTERFACE_DESCRIPTION = 1
INTERFACE_STATISTICS = 5
ENHANCED_PACKET = 6
UNREADABLE = {
    2: "a Packet Block, which is obsolete,",
    3: "a Simple Packet Block, which has no time,",
    9: "a systemd Journal Export Block, which Wireshark counts as a packet,",
}
"""Blocks that would put Wireshark's packet numbers, or the times, out of step with ours."""

_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_CLASSIC = {bytes.fromhex(m) for m in ("d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d")}
_UNKNOWN = 2**64 - 1
_SECOND = 1_000_000_000
_LATEST = 2**63 // _SECOND - 1

_OPT_END = 0
_SHB_USERAPPL = 4
_IF_NAME, _IF_TSRESOL, _IF_FILTER, _IF_TSOFFSET = 2, 9, 11, 14
_ISB_IFRECV, _ISB_IFDROP = 4, 5


class PcapngError(errors.UsageError):
    """A capture file that cannot be read.

    Attributes:
        offset: the octet of the file where it goes wrong, if it is one place.
    """

    def __init__(self, text: str, *, offset: int | None = None, file: str = "") -> None:
        self.offset = offset
        self._text = text
        where = f"at octet {offset}: " if offset is not None else ""
        super().__init__(f"{file}: {where}{text}" if file else f"{where}{text}")

    def of(self, file: str) -> PcapngError:
        """The same error with the file's name."""
        return PcapngError(self._text, offset=self.offset, file=file)


def check_magic(data: memoryview) -> None:
    """Refuse a file that is no pcapng.

    Raises:
        PcapngError: it is not.
    """
    magic = bytes(data[:4])
    if magic in _CLASSIC:
        raise PcapngError("a classic pcap file; convert it with `editcap -F pcapng`", offset=0)
    if magic != SECTION_HEADER.to_bytes(4, "little"):
        raise PcapngError("not a pcapng file", offset=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clock:
    """How an interface's time stamps count: ``ticks_per_second``, from ``offset_s`` after 1970 on."""

    ticks_per_second: int = 1_000_000
    offset_s: int = 0

    def nanoseconds(
        self, ticks: npt.NDArray[np.uint64], begin: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """The times of the packets whose blocks begin at ``begin``, in ns since 1970.

        Raises:
            PcapngError: a time is out of the range of 64 bits.
        """
        second = np.uint64(self.ticks_per_second)
        seconds, rest = ticks // second, ticks % second
        wrong = seconds > np.uint64(_LATEST - max(self.offset_s, 0))
        wrong |= seconds.astype(np.int64) + self.offset_s < -_LATEST
        if wrong.any():
            raise PcapngError("a time stamp out of range", offset=int(begin[np.argmax(wrong)]))
        return (seconds.astype(np.int64) + self.offset_s) * _SECOND + self._fraction(rest).astype(np.int64)

    def _fraction(self, ticks: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Ticks of less than a second, in ns; without a number of more than 64 bits on the way."""
        if _SECOND % self.ticks_per_second == 0:
            return ticks * np.uint64(_SECOND // self.ticks_per_second)
        if self.ticks_per_second % _SECOND == 0:
            return ticks // np.uint64(self.ticks_per_second // _SECOND)
        bits = self.ticks_per_second.bit_length() - 1
        surplus = max(bits - 34, 0)
        return (ticks >> np.uint64(surplus)) * np.uint64(_SECOND) >> np.uint64(bits - surplus)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interface:
    """An interface of a capture.

    Attributes:
        name: empty where the file does not say it.
        link_type: a LINKTYPE_ value; 1 is Ethernet, 101 raw IP.
        snaplen: octets of a packet that are kept at most; 0 for all.
        filter: the capture filter, if there was one.
        received, dropped: the counts that the file ends with, None where it has none.
    """

    name: str
    link_type: int
    snaplen: int
    filter: str | None
    clock: Clock
    received: int | None = None
    dropped: int | None = None


class Section:
    """A section: from its header block on, until the next one.

    Args:
        data: the whole file.
        position: where the header block begins.

    Raises:
        PcapngError: it is no sound header.
    """

    def __init__(self, data: memoryview, position: int) -> None:
        self._data = data
        self.interfaces: list[Interface] = []
        magic = bytes(data[position + 8 : position + 12])
        if magic == _BYTE_ORDER_MAGIC.to_bytes(4, "little"):
            self._order = "<"
        elif magic == _BYTE_ORDER_MAGIC.to_bytes(4, "big"):
            self._order = ">"
        else:
            raise PcapngError("a section header without its byte-order magic", offset=position)
        self.word = np.dtype(f"{self._order}u4")
        length = self.length_at(position)
        if length < SECTION_MINIMUM:
            raise PcapngError(f"a section header of {length} octets is too short", offset=position)
        self.header_end = position + length
        self.application = ""
        if self.header_end <= len(data):
            self.check_block(position, length)
            major, minor = self._unpack("HH", position + 12)
            if major != 1:
                raise PcapngError(f"pcapng version {major}.{minor}; 1.0 is understood", offset=position)
            options = dict(self._options(position + 24, self.header_end - 4))
            self.application = options.get(_SHB_USERAPPL, b"").decode(errors="replace")

    def type_at(self, position: int) -> int:
        """The type of the block at ``position``; -1 where the file ends before it is whole."""
        return int(self._unpack("I", position)[0]) if position + 4 <= len(self._data) else -1

    def length_at(self, position: int) -> int:
        """The total length of the block at ``position``."""
        return int(self._unpack("I", position + 4)[0])

    def check_block(self, position: int, length: int) -> None:
        """Refuse a block whose length cannot be, or that says another one at its end.

        Raises:
            PcapngError: it is so.
        """
        if length < 12 or length % 4:
            raise PcapngError(f"a block of {length} octets cannot be", offset=position)
        again = int(self._unpack("I", position + length - 4)[0])
        if again != length:
            raise PcapngError(
                f"a block says that it has {length} octets, and at its end {again}", offset=position
            )

    def describe_interface(self, position: int, length: int) -> None:
        """Take an Interface Description Block.

        Raises:
            PcapngError: it is malformed.
        """
        if length < 20:
            raise PcapngError(
                f"an Interface Description Block of {length} octets is too short", offset=position
            )
        link_type, _, snaplen = self._unpack("HHI", position + 8)
        options = dict(self._options(position + 16, position + length - 4))
        wanted = options.get(_IF_FILTER)
        self.interfaces.append(
            Interface(
                name=options.get(_IF_NAME, b"").decode(errors="replace"),
                link_type=link_type,
                snaplen=snaplen,
                filter=wanted[1:].decode(errors="replace") if wanted and wanted[0] == 0 else None,
                clock=self._clock(options, position),
            )
        )

    def take_statistics(self, position: int, length: int) -> None:
        """Take an Interface Statistics Block.

        Raises:
            PcapngError: it is malformed.
        """
        if length < 24:
            raise PcapngError(
                f"an Interface Statistics Block of {length} octets is too short", offset=position
            )
        index = int(self._unpack("I", position + 8)[0])
        if index >= len(self.interfaces):
            raise PcapngError("statistics of an interface that is not described", offset=position)
        options = dict(self._options(position + 20, position + length - 4))
        self.interfaces[index] = dataclasses.replace(
            self.interfaces[index],
            received=self._count(options.get(_ISB_IFRECV)),
            dropped=self._count(options.get(_ISB_IFDROP)),
        )

    def _clock(self, options: dict[int, bytes], position: int) -> Clock:
        resolution = options.get(_IF_TSRESOL, b"\x06")
        offset = options.get(_IF_TSOFFSET, bytes(8))
        if len(resolution) != 1 or len(offset) != 8:
            raise PcapngError("a malformed if_tsresol or if_tsoffset", offset=position)
        exponent = resolution[0] & 0x7F
        ticks = 2**exponent if resolution[0] & 0x80 else 10**exponent
        if ticks >= 2**63:
            raise PcapngError(f"a time resolution of 1/{ticks} s is not supported", offset=position)
        offset_s = int(struct.unpack(f"{self._order}q", offset)[0])
        if abs(offset_s) > _LATEST:
            raise PcapngError("a time offset out of range", offset=position)
        return Clock(ticks_per_second=ticks, offset_s=offset_s)

    def _count(self, value: bytes | None) -> int | None:
        if value is None or len(value) != 8:
            return None
        count = int(struct.unpack(f"{self._order}Q", value)[0])
        return None if count == _UNKNOWN else count

    def _options(self, position: int, end: int) -> Iterator[tuple[int, bytes]]:
        while position + 4 <= end:
            code, length = self._unpack("HH", position)
            if code == _OPT_END:
                return
            if position + 4 + length > end:
                raise PcapngError("an option longer than its block", offset=position)
            yield code, bytes(self._data[position + 4 : position + 4 + length])
            position += 4 + (length + 3) // 4 * 4

    def _unpack(self, layout: str, position: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + layout, self._data, position)
