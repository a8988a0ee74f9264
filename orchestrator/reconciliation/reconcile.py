"""Reads logs and captures, and says of each flow whether its application and the packets agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nodes import errors
from orchestrator.capture.pcapng import Offsets
from orchestrator.continuity import read_received, read_sent
from orchestrator.evidence.run_file import CaptureFile
from orchestrator.evidence.verdict import Check, Outcome
from orchestrator.flows import FlowResult, Transport
from orchestrator.flows.result import continuity_of
from orchestrator.flows.running import QUIET_SECONDS
from orchestrator.reconciliation.agreement import Agreement, Contradiction, Receiver, agreement
from orchestrator.reconciliation.node_capture import NodeCaptures
from orchestrator.reconciliation.sightings import Sightings
from orchestrator.reconciliation.stream import Stream
from orchestrator.reconciliation.stream_times import by_packets

_SHOWN = 3
_NOT_IN_CLEAR = (Transport.MPTCP, Transport.QUIC)
"""What no capture can be read record by record: a stream over several subflows, and one that is encrypted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconciled:
    """What came of comparing applications and packets.

    Attributes:
        checks: one of each UDP or TCP flow: passed if both agree on every probe, else inconclusive.
        flows: as they were given; TCP ones with the times of the packets, where both agree.
    """

    checks: tuple[Check, ...]
    flows: tuple[FlowResult, ...]


def reconcile(flows: Sequence[FlowResult], folder: Path, captures: Mapping[str, CaptureFile]) -> Reconciled:
    """Compare what the applications of flows say with what the captures of their nodes show.

    Args:
        folder: the evidence folder.
        captures: by place, with files relative to ``folder``.
    """
    places = NodeCaptures(folder, captures)
    found = [_reconciled(flow, places) for flow in flows if flow.spec.transport not in _NOT_IN_CLEAR]
    checked = {flow.spec.name: flow for _, flow in found}
    return Reconciled(
        checks=tuple(check for check, _ in found),
        flows=tuple(checked.get(flow.spec.name, flow) for flow in flows),
    )


def _reconciled(flow: FlowResult, places: NodeCaptures) -> tuple[Check, FlowResult]:
    try:
        reconciliation = _Reconciliation(flow, places)
        measured, agrees = reconciliation.result()
        if agrees:
            flow = reconciliation.flow_by_packets()
    except (errors.UsageError, errors.FlowError) as error:
        measured, agrees = {"not reconciled": str(error)}, False
    check = Check(
        name=f"application and packets agree: {flow.spec.name}",
        expected="on every probe",
        measured=measured,
        outcome=Outcome.PASS if agrees else Outcome.INCONCLUSIVE,
    )
    return check, flow


class _Reconciliation:
    """One flow's.

    Raises:
        UsageError: a capture is missing or cannot be read.
        FlowError: a log is missing or is none.
    """

    def __init__(self, flow: FlowResult, places: NodeCaptures) -> None:
        self._flow = flow
        self._source, self._destination = places.at(flow.spec.source), places.at(flow.spec.destination)
        self._sent, self._received = read_sent(flow.sent_log), read_received(flow.received_log)
        self._doubts: list[str] = []
        self._more: dict[str, Any] = {}
        self._contradictions: list[Contradiction] = []
        self._arriving: Sightings | None = None

    def result(self) -> tuple[dict[str, Any], bool]:
        """What was measured, and whether all of it agrees."""
        of_stream = self._flow.spec.transport is Transport.TCP
        leaving, arriving = self._streams() if of_stream else self._datagrams()
        is_open = not len(leaving.position) and not len(leaving.unknown) and self._source.has_esp
        compare_times = self._destination.has_one_clock
        self._arriving = arriving
        found = agreement(
            self._sent,
            self._received,
            None if is_open else leaving,
            arriving,
            Receiver(dropped=self._flow.dropped, ended_ns=self._receiver_ended_ns()),
            compare_times=compare_times,
        )
        if not compare_times:
            step_ms = self._destination.clock_step_ns / 1e6
            self._more["times"] = f"not compared: the wall clock was set by {step_ms:.3f} ms"
        elif found.time_difference_ns is not None:
            self._more["times differ by at most, ms"] = found.time_difference_ns / 1e6
        self._doubt(found, leaving, arriving)
        self._contradictions += found.contradictions
        source, destination = self._flow.spec.source, self._flow.spec.destination
        measured: dict[str, Any] = dict(found.account)
        measured[f"leaving {source}"] = "encrypted by its kernel, not seen" if is_open else _evidence(leaving)
        measured[f"arriving at {destination}"] = _evidence(arriving)
        measured |= self._more
        measured |= {one.what: self._plain(one) for one in self._contradictions}
        measured |= {"doubts": self._doubts} if self._doubts else {}
        return measured, not self._contradictions and not self._doubts

    def flow_by_packets(self) -> FlowResult:
        """The flow, over TCP with the times of its packets; to be called after :meth:`result`."""
        if (
            self._flow.spec.transport is not Transport.TCP
            or not self._flow.spec.by_packets
            or not self._destination.has_one_clock
            or self._arriving is None
        ):
            return self._flow
        received = by_packets(self._sent, self._received, self._arriving)
        return dataclasses.replace(
            self._flow, continuity=continuity_of(self._sent, received, self._flow.stall_ms)
        )

    def _datagrams(self) -> tuple[Sightings, Sightings]:
        size = self._flow.spec.size
        leaving = self._source.datagrams.of(self._sent, size)
        arriving = self._destination.datagrams.of(self._sent, size)
        if len(arriving.changed):
            self._more["changed on the way"] = _packets(arriving.changed)
        return leaving, arriving

    def _streams(self) -> tuple[Sightings, Sightings]:
        flow, size = self._flow, self._flow.spec.size
        leaving = self._source.segments.of(self._sent, size)
        arriving = self._destination.segments.of(self._sent, size)
        acknowledged = self._acknowledged(leaving, arriving)
        self._more["octets"] = {
            "written": flow.octets_sent,
            "seen leaving": leaving.octets,
            "seen arriving": arriving.octets,
            "acknowledged": acknowledged,
            "read": flow.octets_received,
        }
        self._more["segments sent again"] = {
            "by TCP's count": flow.retransmitted,
            "seen leaving again": leaving.repeated,
            "seen arriving again": arriving.repeated,
        }
        for what, octets in (
            ("octets acknowledged that were not seen arriving", acknowledged),
            ("octets read that were not seen arriving", flow.octets_received or 0),
        ):
            if octets > arriving.octets:
                self._contradictions.append(
                    Contradiction(what=what, probes=-(-(octets - arriving.octets) // size))
                )
        return leaving.records, arriving.records

    def _acknowledged(self, leaving: Stream, arriving: Stream) -> int:
        known = leaving if leaving.ports else arriving
        if known.beginning is None:
            return 0
        most = max(leaving.octets, arriving.octets)
        return self._source.segments.acknowledged(known.ports, known.beginning, most)

    def _receiver_ended_ns(self) -> int:
        """Until when the receiver had to receive what came.

        It ends once it has every probe that was offered; else a second after the last sign of the flow.
        """
        last_ns = int(self._received.received_ns.max(initial=0))
        offered = int(np.count_nonzero(self._sent.errno == 0))
        broken = self._flow.cut_off is not None or self._flow.broken is not None
        if broken or len(np.unique(self._received.sequence)) >= offered:
            return last_ns + 1
        return max(last_ns, int(self._sent.sent_ns.max(initial=0))) + round(QUIET_SECONDS * 1e9)

    def _doubt(self, found: Agreement, leaving: Sightings, arriving: Sightings) -> None:
        """Note why nothing can be said of probes that were not seen."""
        for place, name, sightings, unseen in (
            (self._source, self._flow.spec.source, leaving, found.unseen_leaving),
            (self._destination, self._flow.spec.destination, arriving, found.unseen_arriving),
        ):
            if not unseen:
                continue
            doubts = list(place.incomplete)
            if sightings.unreadable:
                doubts.append(f"it cut {sightings.unreadable} packets too short to tell what they are")
            self._doubts += [
                f"{unseen} probes were not seen at {name}, whose capture may miss them: {doubt}"
                for doubt in doubts
            ]
        if self._flow.cut_off is not None:
            self._doubts.append(f"the flow did not end in order: {self._flow.cut_off}")

    def _plain(self, one: Contradiction) -> dict[str, Any]:
        plain: dict[str, Any] = {"probes": one.probes}
        for name, numbers in (
            ("first", one.sequence),
            (f"packets at {self._flow.spec.source}", one.leaving),
            (f"packets at {self._flow.spec.destination}", one.arriving),
        ):
            if numbers:
                plain[name] = list(numbers)
        return plain


def _evidence(seen: Sightings) -> dict[str, Any]:
    return _packets(np.sort(seen.number))


def _packets(numbers: Offsets) -> dict[str, Any]:
    """How many packets, and the numbers by which Wireshark shows the first ones and the last."""
    evidence: dict[str, Any] = {"packets": len(numbers)}
    if len(numbers):
        evidence |= {"first": numbers[:_SHOWN].tolist(), "last": int(numbers[-1])}
    return evidence
