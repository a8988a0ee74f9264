"""Which packets bear an address after it was retired, in headers or as a target of neighbour discovery."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from orchestrator.capture.classify import Addresses, Headers, Kind, Mask
from orchestrator.capture.pcapng import Offsets, Packets

_ETHERNET = 1
_MAC = 6
_SOLICITATION, _ADVERTISEMENT = 135, 136
_TARGET = 8
_TARGET_END = 24
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retired:
    """An address that nobody is to bear any more from a moment on, CLOCK_MONOTONIC ns."""

    address: ipaddress.IPv6Address
    since_ns: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bearing:
    """The packets, by the numbers that Wireshark shows, that bear a retired address.

    Attributes:
        as_source, as_destination, as_target: where they bear it; ``as_target`` of neighbour discovery.
        judged: how many packets were looked at: those that were seen after the first retirement.
    """

    as_source: Offsets
    as_destination: Offsets
    as_target: Offsets
    judged: int

    @property
    def packets(self) -> Offsets:
        """All of them."""
        return np.unique(np.concatenate([self.as_source, self.as_destination, self.as_target]))


def bearing_after(
    packets: Packets,
    headers: Headers,
    times_ns: Offsets,
    retired: Sequence[Retired],
    outsiders: Collection[bytes] = (),
) -> Bearing:
    """The packets that bear an address of ``retired`` later than it was retired.

    Args:
        times_ns: of every packet, on the clock of ``retired``.
        outsiders: link addresses of nodes that know no better, such as a scanner: what they send *to* a
            retired address, or ask of it, does not count; what comes *from* one always does.
    """
    known = _Known(retired)
    own = ~_sent_by(packets, outsiders)
    source = known.borne(headers.source, times_ns)
    destination = known.borne(headers.destination, times_ns) & own
    index, targets = _neighbour_targets(packets, headers)
    target = np.zeros(len(packets), np.bool_)
    target[index] = known.borne(targets, times_ns[index]) & own[index]
    since = min((one.since_ns for one in retired), default=0)
    return Bearing(
        as_source=np.flatnonzero(source) + 1,
        as_destination=np.flatnonzero(destination) + 1,
        as_target=np.flatnonzero(target) + 1,
        judged=int(np.count_nonzero(times_ns > since)) if retired else 0,
    )


class _Known:
    """The retired addresses, ready for a look-up of many."""

    def __init__(self, retired: Sequence[Retired]) -> None:
        halves = np.array(
            [divmod(int(one.address), 2**64) for one in retired] or np.empty((0, 2)), dtype=np.uint64
        ).reshape(-1, 2)
        since = np.array([one.since_ns for one in retired], np.int64)
        order = np.argsort(_mixed(halves), kind="stable")
        self._halves, self._since = halves[order], since[order]
        self._keys = _mixed(self._halves)

    def borne(self, addresses: Addresses, times_ns: Offsets) -> Mask:
        """For each of ``addresses``, whether it is retired at its time."""
        if not len(self._keys):
            return np.zeros(len(addresses), np.bool_)
        at = np.minimum(np.searchsorted(self._keys, _mixed(addresses)), len(self._keys) - 1)
        same = np.all(self._halves[at] == addresses, axis=1)
        found: Mask = same & (times_ns > self._since[at])
        return found


def _mixed(halves: Addresses) -> npt.NDArray[np.uint64]:
    """One number for the two halves of an address; what has the same number is compared in full."""
    mixed: npt.NDArray[np.uint64] = halves[:, 0] * _MIX + halves[:, 1]
    return mixed


def _sent_by(packets: Packets, link_addresses: Collection[bytes]) -> Mask:
    found = np.zeros(len(packets), np.bool_)
    if not link_addresses:
        return found
    framed = np.flatnonzero((packets.link_type == _ETHERNET) & (packets.captured >= 2 * _MAC))
    if not len(framed):
        return found
    senders = sliding_window_view(packets.octets, _MAC)[packets.start[framed] + _MAC]
    for address in link_addresses:
        found[framed] |= np.all(senders == np.frombuffer(address, np.uint8), axis=1)
    return found


def _neighbour_targets(packets: Packets, headers: Headers) -> tuple[Offsets, Addresses]:
    """The neighbour solicitations and advertisements, and what they are about (RFC 4861, 4.3)."""
    index = np.flatnonzero(headers.kind == Kind.ICMPV6)
    end = packets.start[index] + packets.captured[index]
    index = index[headers.upper[index] + _TARGET_END <= end]
    kind = packets.octets[headers.upper[index]]
    index = index[(kind == _SOLICITATION) | (kind == _ADVERTISEMENT)]
    if not len(index):
        return index, np.empty((0, 2), np.uint64)
    rows = sliding_window_view(packets.octets, _TARGET_END - _TARGET)[headers.upper[index] + _TARGET]
    return index, np.ascontiguousarray(rows).view(">u8").astype(np.uint64)
