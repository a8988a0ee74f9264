"""The life of each SA, as the nodes tell it, and the ESP packets that the capture has of it. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nodes.events import Event
from orchestrator.capture.classify import Headers
from orchestrator.report.moments import Frames


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnTheWire:
    """The ESP packets of an SPI: how many, the number and the time of the first and of the last."""

    packets: int
    first: int
    first_ns: int
    last: int
    last_ns: int


@dataclasses.dataclass(kw_only=True)
class SaLine:
    """One SA at one node.

    Attributes:
        node: where it stands.
        kind: ``child`` or ``ike``.
        name: its configuration's, with charon's number for it.
        inbound: the SPI that the node receives under; the initiator's for an IKE SA. ``outbound`` likewise.
        start_ns: when it was installed; None where that was not told.
        effective_ns: from when on the node sent under it; None where the node does not tell the two apart.
        effective_by: what made it effective.
        old_ns: from when on the node sent under another, and still received under this one; None where it
            was not told, or did not come to it.
        end_ns: when it was replaced or deleted; None where it stood to the end.
        ended_by: the event that ended it.
        detail: algorithms and the like.
    """

    node: str
    kind: str
    name: str
    inbound: str
    outbound: str
    start_ns: int | None
    effective_ns: int | None = None
    effective_by: str = ""
    old_ns: int | None = None
    end_ns: int | None = None
    ended_by: str = ""
    detail: str = ""


def sa_lines(events: Iterable[Event]) -> list[SaLine]:
    """The SAs in the order in which they were installed; ``events`` in the order of time.

    strongSwan tells of a rekey alone: the old SA ends and the new one begins with it. The endpoint tells of
    each SA by itself: installed, effective, old, deleted.
    """
    standing: dict[tuple[str, str, object], SaLine] = {}
    lines: list[SaLine] = []

    def begin(event: Event, kind: str, data: Mapping[str, Any], *, start_ns: int | None) -> SaLine:
        line = _line(event.node, kind, data, start_ns)
        standing[event.node, kind, data.get("unique_id")] = line
        lines.append(line)
        return line

    def end(event: Event, kind: str, data: Mapping[str, Any]) -> None:
        line = standing.pop((event.node, kind, data.get("unique_id")), None)
        line = line or begin(event, kind, data, start_ns=None)
        standing.pop((event.node, kind, data.get("unique_id")), None)
        line.end_ns, line.ended_by = event.time_ns, event.kind
        if reason := event.data.get("reason"):
            line.ended_by = f"{event.kind}: {reason}"

    for event in events:
        sa, _, what = event.kind.partition("-sa.")
        if sa not in ("ike", "child"):
            continue
        if what in ("established", "installed"):
            begin(event, sa, event.data, start_ns=event.time_ns)
        elif what == "deleted":
            end(event, sa, event.data)
        elif what in ("effective", "old"):
            line = standing.get((event.node, sa, event.data.get("unique_id")))
            line = line or begin(event, sa, event.data, start_ns=None)
            if what == "old":
                line.old_ns = event.time_ns
            else:
                line.effective_ns, line.effective_by = event.time_ns, str(event.data.get("reason", ""))
        elif what == "rekeyed" and all(isinstance(event.data.get(one), dict) for one in ("old", "new")):
            if (event.node, sa, event.data["new"].get("unique_id")) in standing:
                continue  # this node tells of each SA by itself
            end(event, sa, event.data["old"])
            begin(event, sa, event.data["new"], start_ns=event.time_ns)
    return lines


def esp_by_spi(frames: Frames, headers: Headers) -> dict[str, OnTheWire]:
    """What the capture has of each SPI, by its 8 hexadecimal digits."""
    esp = frames.order[headers.is_esp[frames.order]]
    spis = headers.spi[esp]
    known, first, count = np.unique(spis, return_index=True, return_counts=True)
    _, from_end = np.unique(spis[::-1], return_index=True)
    last = len(spis) - 1 - from_end
    return {
        f"{spi:08x}": OnTheWire(
            packets=packets,
            first=int(esp[a]) + 1,
            first_ns=int(frames.time_ns[esp[a]]),
            last=int(esp[b]) + 1,
            last_ns=int(frames.time_ns[esp[b]]),
        )
        for spi, packets, a, b in zip(
            known.tolist(), count.tolist(), first.tolist(), last.tolist(), strict=True
        )
    }


def _line(node: str, kind: str, data: Mapping[str, Any], start_ns: int | None) -> SaLine:
    spis = ("spi_in", "spi_out") if kind == "child" else ("initiator_spi", "responder_spi")
    inbound, outbound = (str(data.get(field) or "") for field in spis)
    fields = ("protocol", "encryption", "integrity", "prf", "dh_group", "mode")
    detail = [str(data[field]) for field in fields if data.get(field)]
    if data.get("encap"):
        detail.append("in UDP")
    return SaLine(
        node=node,
        kind=kind,
        name=f"{data.get('name', '')}{{{data.get('unique_id', '')}}}",
        inbound=inbound,
        outbound=outbound,
        start_ns=start_ns,
        detail=" · ".join(detail),
    )
