"""Finds the records of a TCP flow in a capture: when the stream was there up to the end of each. No I/O.

A record counts as seen once every octet up to its end was seen, in whatever order, as an application can have
it only then. The stream is told by its ports, not by its addresses, for these may hop. So may ports: they
are told, as is where the stream begins, by the segments that begin with a record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from nodes.traffic.probe import MIN_SIZE
from orchestrator.capture.classify import Headers, Kind, Mask
from orchestrator.capture.pcapng import Packets
from orchestrator.continuity.flow_logs import Integers, SentLog
from orchestrator.reconciliation.sightings import NEVER, Sightings, ipv6_ends, numbers, positions

_ACK = 0x10
_ID = 8
_NOTHING: Integers = np.empty(0, np.int64)
Ports = tuple[int, int]
"""Of the source and of the destination."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """A flow's stream of octets at one node.

    Attributes:
        records: the records that were there.
        octets: how far the stream was there without a hole.
        repeated: segments that brought octets again: retransmissions, as far as a capture can tell them.
        ports: of the source and the destination, each pair that it had; empty where nothing of it was seen.
        beginning: the TCP sequence number of the stream's first octet, None likewise.
    """

    records: Sightings
    octets: int
    repeated: int
    ports: tuple[Ports, ...] = ()
    beginning: int | None = None


class Segments:
    """The TCP segments of a capture, read once for all of its flows.

    Args:
        times_ns: of every packet of the capture, CLOCK_MONOTONIC.
    """

    def __init__(self, packets: Packets, headers: Headers, times_ns: Integers) -> None:
        index = np.flatnonzero(headers.kind == Kind.TCP)
        index = index[np.argsort(times_ns[index], kind="stable")]
        at = headers.upper[index]
        self._octets = packets.octets
        self._index = index
        self._interface = packets.interface[index].astype(np.int64)
        self._time_ns = times_ns[index]
        self._source_port = headers.source_port[index]
        self._destination_port = headers.destination_port[index]
        self._sequence = numbers(packets.octets, at + 4, 4).astype(np.uint32)
        self._acknowledged = numbers(packets.octets, at + 8, 4).astype(np.uint32)
        self._has_ack = packets.octets[at + 13] & _ACK > 0
        self._payload = at + (packets.octets[at + 12] >> 4).astype(np.int64) * 4
        self._length = np.maximum(ipv6_ends(packets, index) - self._payload, 0)
        kept = packets.start[index] + packets.captured[index] - self._payload
        told = np.flatnonzero((self._length >= MIN_SIZE) & (kept >= MIN_SIZE))
        self._flow_id = np.zeros(len(index), np.uint64)
        self._flow_id[told] = numbers(packets.octets, self._payload[told], _ID)

    def of(self, sent: SentLog, size: int) -> Stream:
        """The stream of a flow, whose records have ``size`` octets."""
        in_stream = np.flatnonzero(sent.errno == 0)  # what was refused is not in the stream
        found = self._beginning(sent, size)
        if found is None:
            return Stream(records=_no_sightings(), octets=0, repeated=0)
        ports, beginning = found
        mine = np.flatnonzero(self._between(ports) & (self._length > 0))
        begin = _unwrapped(self._sequence[mine], beginning)
        end = begin + self._length[mine]
        coverage = _Coverage(begin, end)
        count = min(len(in_stream), coverage.octets // size)
        ends = np.arange(1, count + 1, dtype=np.int64) * size
        last = mine[coverage.completed_by(ends)]
        interfaces = np.unique(self._interface[mine])
        return Stream(
            records=dataclasses.replace(
                _no_sightings(),
                position=in_stream[:count],
                time_ns=self._time_ns[last],
                number=self._index[last] + 1,
                interface=self._interface[last],
                whole=np.ones(count, np.bool_),
                stamp_ns=_earliest_from(end, self._time_ns[mine], ends),
            ),
            octets=coverage.octets,
            repeated=max(
                _Coverage(begin[there], end[there]).repeated
                for there in (self._interface[mine] == interface for interface in interfaces)
            ),
            ports=ports,
            beginning=beginning,
        )

    def acknowledged(self, ports: Sequence[Ports], beginning: int, octets: int) -> int:
        """How many of the stream's ``octets`` were acknowledged by the segments the other way."""
        back = [(destination, source) for source, destination in ports]
        mine = np.flatnonzero(self._between(back) & self._has_ack)
        if not len(mine):
            return 0
        return int(np.clip(_unwrapped(self._acknowledged[mine], beginning).max(), 0, octets))

    def _between(self, ports: Sequence[Ports]) -> Mask:
        between = np.zeros(len(self._index), np.bool_)
        for source, destination in ports:
            between |= (self._source_port == source) & (self._destination_port == destination)
        return between

    def _beginning(self, sent: SentLog, size: int) -> tuple[tuple[Ports, ...], int] | None:
        """The stream's ports, which may hop as well, and the sequence number of its first octet."""
        told = np.flatnonzero(self._flow_id == np.uint64(sent.flow_id))
        sequence = numbers(self._octets, self._payload[told] + _ID, 8).astype(np.int64)
        sent_ns = numbers(self._octets, self._payload[told] + 2 * _ID, 8).astype(np.int64)
        at, known = positions(sent, sequence)
        known[known] = sent.sent_ns[at[known]] == sent_ns[known]
        if not known.any():
            return None
        first = int(np.argmax(known))
        segment = told[first]
        before = int(np.count_nonzero(sent.errno[: at[first]] == 0)) * size
        those = told[known]
        ports = {
            (int(source), int(destination))
            for source, destination in zip(
                self._source_port[those].tolist(), self._destination_port[those].tolist(), strict=True
            )
        }
        return tuple(sorted(ports)), (int(self._sequence[segment]) - before) % 2**32


def _unwrapped(sequence: np.ndarray[tuple[int], np.dtype[np.uint32]], beginning: int) -> Integers:
    """Sequence numbers, in the order of time, as octets since ``beginning``, past 32 bits too."""
    since = sequence - np.uint32(beginning)
    if not len(since):
        return _NOTHING
    steps = np.diff(since).view(np.int32).astype(np.int64)  # the shorter way round
    first = np.int64(since[:1].view(np.int32)[0])
    return np.concatenate([np.full(1, first), first + np.cumsum(steps)])


def _earliest_from(segment_ends: Integers, time_ns: Integers, ends: Integers) -> Integers:
    """The earliest time of a segment that reaches each of ``ends``, or further.

    The kernel gives whoever reads a stream the time of the last octet that it hands over, and what came out
    of order came before the octets that it follows.
    """
    order = np.argsort(segment_ends)
    earliest: Integers = np.minimum.accumulate(time_ns[order][::-1])[::-1]
    return earliest[np.searchsorted(segment_ends[order], ends)]


class _Coverage:
    """Which octets of a stream were seen, and by which of the segments, which are in the order of time.

    Attributes:
        octets: how far the stream was seen without a hole.
        repeated: segments with an octet that an earlier one had.
    """

    def __init__(self, begin: Integers, end: Integers) -> None:
        begin, end = np.maximum(begin, 0), np.maximum(end, 0)
        self._edges = np.unique(np.concatenate([np.zeros(1, np.int64), begin, end]))
        first, last = np.searchsorted(self._edges, begin), np.searchsorted(self._edges, end)
        pieces = last - first
        segment = np.repeat(np.arange(len(begin)), pieces)
        piece = np.arange(len(segment)) - np.repeat(np.cumsum(pieces) - pieces, pieces) + first[segment]
        earliest = np.full(len(self._edges) - 1, NEVER, np.int64)
        np.minimum.at(earliest, piece, segment)
        self._complete: Integers = np.maximum.accumulate(earliest)
        seen = int(np.count_nonzero(self._complete < NEVER))
        self.octets = int(self._edges[seen])
        self.repeated = len(np.unique(segment[earliest[piece] < segment]))

    def completed_by(self, ends: Integers) -> Integers:
        """The segment with which the stream was there up to each of ``ends``, none beyond ``octets``."""
        completed: Integers = self._complete[np.searchsorted(self._edges, ends) - 1]
        return completed


def _no_sightings() -> Sightings:
    return Sightings(
        position=_NOTHING,
        time_ns=_NOTHING,
        number=_NOTHING,
        interface=_NOTHING,
        whole=np.empty(0, np.bool_),
        changed=_NOTHING,
        unknown=_NOTHING,
        stamp_ns=_NOTHING,
    )
