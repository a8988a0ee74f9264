"""Finds the probes of UDP flows among a capture's packets. No I/O."""

from __future__ import annotations

import numpy as np

from nodes.traffic.probe import MIN_SIZE
from orchestrator.capture.classify import Headers, Kind, Mask
from orchestrator.capture.pcapng import Octets, Offsets, Packets
from orchestrator.continuity.flow_logs import Integers, SentLog
from orchestrator.reconciliation.sightings import Sightings, ipv6_ends, numbers, positions, rows

_UDP_HEADER = 8
_ID = 8
_CHUNK = 65_536
"""Packets whose filling is compared at a time."""


class Datagrams:
    """The UDP packets of a capture, read once for all of its flows.

    Args:
        times_ns: of every packet of the capture, CLOCK_MONOTONIC.
    """

    def __init__(self, packets: Packets, headers: Headers, times_ns: Integers) -> None:
        self._packets = packets
        index = np.flatnonzero(headers.kind == Kind.UDP)
        payload = headers.upper[index] + _UDP_HEADER
        length = numbers(packets.octets, headers.upper[index] + 4, 2).astype(np.int64) - _UDP_HEADER
        kept = packets.start[index] + packets.captured[index] - payload
        probable = length >= MIN_SIZE
        self._cut_short = probable & (kept < MIN_SIZE)
        readable = np.flatnonzero(probable & ~self._cut_short)
        self._index, self._payload, self._length = index[readable], payload[readable], length[readable]
        self._kept = np.minimum(kept[readable], self._length)
        self._ends = ipv6_ends(packets, self._index)
        self._flow_id = numbers(packets.octets, self._payload, _ID)
        self._times_ns = times_ns

    def of(self, sent: SentLog, size: int) -> Sightings:
        """The probes of a flow, whose probes have ``size`` octets.

        A packet is the probe that it says it is if number and send time are those of the sender's log, and
        its filling, as far as it was kept, is what the sender put there.
        """
        mine = np.flatnonzero(self._flow_id == np.uint64(sent.flow_id))
        payload = self._payload[mine]
        octets = self._packets.octets
        sequence = numbers(octets, payload + _ID, 8).astype(np.int64)
        sent_ns = numbers(octets, payload + 2 * _ID, 8).astype(np.int64)
        at, known = positions(sent, sequence)
        intact = self._filled(mine, size)
        genuine = known & intact
        genuine[known] &= sent.sent_ns[at[known]] == sent_ns[known]
        unknown = intact & ~known
        index = self._index[mine]
        return Sightings(
            position=at[genuine],
            time_ns=self._times_ns[index[genuine]],
            number=index[genuine] + 1,
            interface=self._packets.interface[index[genuine]].astype(np.int64),
            whole=payload[genuine] + size <= self._ends[mine[genuine]],
            changed=index[~genuine & ~unknown] + 1,
            unknown=index[unknown] + 1,
            unreadable=int(np.count_nonzero(self._cut_short)),
        )

    def _filled(self, mine: Offsets, size: int) -> Mask:
        """Which of the flow's packets have its size and, as far as they were kept, its filling."""
        fits: Mask = self._length[mine] == size
        whole = np.minimum(self._ends[mine] - self._payload[mine], self._kept[mine])  # a fragment has less
        kept = np.clip(whole, MIN_SIZE, size)
        for width in np.unique(kept[fits]).tolist():
            these = np.flatnonzero(fits & (kept == width))
            for first in range(0, len(these), _CHUNK):
                some = these[first : first + _CHUNK]
                fits[some] = self._same_filling(self._payload[mine[some]], width)
        return fits

    def _same_filling(self, payload: Offsets, width: int) -> Mask:
        found = rows(self._packets.octets, payload, width)
        filling: Octets = np.resize(found[0, :_ID], width - MIN_SIZE) if width > MIN_SIZE else found[0, :0]
        same: Mask = np.all(found[:, MIN_SIZE:] == filling, axis=1)
        return same
