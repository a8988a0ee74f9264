"""A flow's probes as one node's capture shows them. No I/O."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from orchestrator.capture.classify import Mask
from orchestrator.capture.pcapng import Octets, Offsets, Packets
from orchestrator.continuity.flow_logs import Integers, SentLog

NEVER: int = 2**63 - 1
"""The time of what was not seen."""

_ETHERNET = 1
_ETHERNET_HEADER = 14
_IPV6_HEADER = 40


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sightings:
    """The probes of one flow in the capture of one node; one element a packet.

    Attributes:
        position: which element of the sender's log the probe is.
        time_ns: when the kernel saw it, CLOCK_MONOTONIC.
        number: of the packet, as Wireshark shows it.
        interface: which interface of the capture saw it.
        whole: False for the first fragment of a datagram (RFC 8200, 4.5), which says nothing of the others.
        changed: the numbers of packets of the flow whose content is not what was sent.
        unknown: the numbers of packets of the flow whose probe is not in the sender's log.
        unreadable: packets that may be the flow's, but are cut too short by the capture to tell.
        stamp_ns: for a stream, whose octets wait in the kernel to be read and are joined there, the earliest
            receive time that the kernel may give for a record; None where that is exactly ``time_ns``.
    """

    position: Integers
    time_ns: Integers
    number: Offsets
    interface: Integers
    whole: Mask
    changed: Offsets
    unknown: Offsets
    unreadable: int = 0
    stamp_ns: Integers | None = None

    def copies(self, probes: int) -> Integers:
        """How often each of ``probes`` probes was seen; a packet seen on two interfaces counts once."""
        most = np.zeros(probes, np.int64)
        for interface in np.unique(self.interface):
            on_it = np.bincount(self.position[self.interface == interface], minlength=probes)
            most = np.maximum(most, on_it)
        return most

    def numbers_of(self, which: Mask) -> Offsets:
        """The numbers of the packets of the probes for which ``which`` holds, ascending."""
        return np.sort(self.number[which[self.position]])


def positions(sent: SentLog, sequence: Integers) -> tuple[Integers, Mask]:
    """Where each number stands in the sender's log, and whether it does; 0 where not."""
    if not len(sent.sequence):
        return np.zeros(len(sequence), np.int64), np.zeros(len(sequence), np.bool_)
    at = np.minimum(np.searchsorted(sent.sequence, sequence), len(sent.sequence) - 1).astype(np.int64)
    known: Mask = sent.sequence[at] == sequence
    return np.where(known, at, 0), known


def rows(octets: Octets, at: Offsets, width: int) -> Octets:
    """``width`` octets from each of ``at``, as rows; they must be there."""
    if not len(at):
        return np.empty((0, width), np.uint8)
    found: Octets = sliding_window_view(octets, width)[at]
    return found


def numbers(octets: Octets, at: Offsets, width: int) -> npt.NDArray[np.uint64]:
    """The number of ``width`` octets, in network byte order, at each of ``at``."""
    found = np.zeros(len(at), np.uint64)
    for column in rows(octets, at, width).T:
        found = found << np.uint64(8) | column
    return found


def ipv6_ends(packets: Packets, index: Offsets) -> Offsets:
    """Where in the file the IPv6 packet of each element of ``index`` ends, or would if all of it was kept.

    What follows it in the frame is padding.
    """
    start = packets.start[index]
    header = start + np.where(packets.link_type[index] == _ETHERNET, _ETHERNET_HEADER, 0)
    payload = numbers(packets.octets, header + 4, 2).astype(np.int64)
    of_the_frame = start + packets.original[index].astype(np.int64)  # a jumbogram does not say its length
    ends: Offsets = np.where(payload > 0, header + _IPV6_HEADER + payload, of_the_frame)
    return ends
