"""What the page draws of one run, as JSON values. Evidence in, values out; no I/O.

Every part is bounded, so that the page of an hour's run opens as fast as that of a second's; what a part
leaves out it counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nodes.events import Event
from orchestrator.capture.classify import Headers, classify
from orchestrator.continuity import Continuity, continuity
from orchestrator.evidence.read import FlowLogs, ReadEvidence
from orchestrator.evidence.verdict import FlowVerdict, Interruption
from orchestrator.report.address_lines import address_lines
from orchestrator.report.flow_track import flow_track
from orchestrator.report.hop_lines import HopLine, hop_lines
from orchestrator.report.ladder import IkeMessage, ike_messages
from orchestrator.report.moments import Clock, Frames
from orchestrator.report.nodes_seen import names_by_address
from orchestrator.report.sa_lines import SaLine, esp_by_spi, sa_lines
from orchestrator.report.sampling import Matters, fitting, near, sample

MOST_MESSAGES = 1_200
MOST_LINES = 1_000
MOST_INTERRUPTIONS = 300
EVENT_OCTETS = 400_000
"""How much room the events' data may take."""
POINTS = 36_000
"""The arrivals of all flows of a page that may stand by themselves."""


def side(evidence: ReadEvidence, *, label: str, points: int = POINTS) -> dict[str, Any]:
    """The values of one run.

    Args:
        evidence: the run's.
        label: what the page calls the run.
        points: the most arrivals that may stand by themselves.
    """
    clock = Clock.of(evidence)
    capture = evidence.capture
    frames = Frames.of(capture) if capture is not None else None
    headers = classify(capture.packets) if capture is not None else None
    names = names_by_address(evidence.events)
    messages = ike_messages(frames, headers, names) if frames is not None and headers is not None else []
    flows = _flows(evidence, clock, frames, points)
    matters = near((one["start"], one["end"]) for flow in flows for one in flow["interruptions"])
    values: dict[str, Any] = {
        "label": label,
        "capture": capture.file if capture is not None else None,
        "keys": evidence.keys,
        "ladder": _ladder(messages, clock),
        "flows": flows,
        "sas": _sas(sa_lines(evidence.events), matters, frames, headers, clock),
        "addresses": _addresses(evidence.events, clock),
        "hops": _hops(hop_lines(evidence.events), matters, clock),
        "events": _events(evidence.events, matters, clock, frames),
    }
    return values | {"span": _span(values), "traffic": _traffic(flows)}


def _ladder(messages: Sequence[IkeMessage], clock: Clock) -> dict[str, Any]:
    """All messages, or the first and the last ones with every repeated one between."""
    shown = list(messages)
    if len(shown) > MOST_MESSAGES:
        ends = MOST_MESSAGES // 3
        odd = [one for one in shown[ends:-ends] if one.repeats is not None or one.content.problem][:ends]
        shown = [*shown[:ends], *odd, *shown[-ends:]]
    keys: dict[object, int] = {}
    lanes: list[str] = []
    for message in messages:
        for end in (message.source, message.destination):
            if end not in lanes:
                lanes.append(end)
    return {
        "lanes": lanes,
        "total": len(messages),
        "messages": [_message(one, keys.setdefault(one.key, len(keys)), lanes, clock) for one in shown],
    }


def _message(message: IkeMessage, exchange: int, lanes: Sequence[str], clock: Clock) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "n": message.packet,
        "t": clock.ms(message.time_ns),
        "from": lanes.index(message.source),
        "to": lanes.index(message.destination),
        "ports": [message.source_port, message.destination_port],
        "v": message.version,
        "x": message.exchange,
        "k": exchange,
        "no": message.number,
        "i": message.initiator_spi,
        "r": message.responder_spi,
        "id": message.message_id,
        "size": message.octets,
        "has": list(message.content.payloads),
    }
    if message.content.problem:
        plain["problem"] = message.content.problem
    if message.repeats is not None:
        plain |= {"again": message.repeats, "after": round(message.repeats_after_ns / 1e6, 3)}
    return plain


def _flows(evidence: ReadEvidence, clock: Clock, frames: Frames | None, points: int) -> list[dict[str, Any]]:
    """The flows of the verdict, then those that only have logs."""
    judged = {flow.name: flow for flow in evidence.verdict.flows} if evidence.verdict is not None else {}
    names = [*judged, *(name for name in evidence.flows if name not in judged)]
    return [
        _flow(
            name,
            judged.get(name),
            evidence.flows.get(name, FlowLogs()),
            clock=clock,
            frames=frames,
            points=points // len(names),
        )
        for name in names
    ]


def _flow(
    name: str,
    judged: FlowVerdict | None,
    logs: FlowLogs,
    *,
    clock: Clock,
    frames: Frames | None,
    points: int,
) -> dict[str, Any]:
    found = _continuity(logs)
    interruptions = judged.interruptions if judged is not None else _interruptions(found, clock)
    plain: dict[str, Any] = {
        "name": name,
        "source": judged.source if judged is not None else logs.source,
        "destination": judged.destination if judged is not None else logs.destination,
        "transport": judged.transport if judged is not None else None,
        "sent": judged.sent if judged is not None else found.sent if found else None,
        "received": judged.received if judged is not None else found.received if found else None,
        "lostTotal": judged.lost if judged is not None else found.lost if found else None,
        "longest": judged.longest_gap_ms if judged is not None else found.longest_gap_ms if found else None,
        "delay": _delay(found),
        "total": len(interruptions),
        "interruptions": [_interruption(one, clock, frames) for one in _worst(interruptions)],
    }
    track = flow_track(logs, interruptions, origin_ns=clock.origin_ns, points=points)
    return plain | {"track": track}


def _continuity(logs: FlowLogs) -> Continuity | None:
    sent, received = logs.sent, logs.received
    if sent is None or received is None or sent.interval_ns <= 0:
        return None
    try:
        return continuity(
            sent.sequence,
            sent.sent_ns,
            received.sequence,
            received.received_ns,
            interval_ns=sent.interval_ns,
            returned_ns=sent.returned_ns,
        )
    except ValueError:  # a log that is out of order says nothing
        return None


def _interruptions(found: Continuity | None, clock: Clock) -> tuple[Interruption, ...]:
    return tuple(
        Interruption(start_ms=clock.ms(one.start_ns), end_ms=clock.ms(one.end_ns), lost=one.lost)
        for one in (found.interruptions if found is not None else ())
    )


def _delay(found: Continuity | None) -> list[float] | None:
    if found is None or found.delay is None:
        return None
    return [round(ms, 3) for ms in (found.delay.p50_ms, found.delay.p99_ms, found.delay.max_ms)]


def _worst(interruptions: Sequence[Interruption]) -> list[Interruption]:
    """The longest ones, in the order of time."""
    longest = sorted(interruptions, key=lambda one: one.start_ms - one.end_ms)[:MOST_INTERRUPTIONS]
    return sorted(longest, key=lambda one: one.start_ms)


def _interruption(one: Interruption, clock: Clock, frames: Frames | None) -> dict[str, Any]:
    start, end = (round(ms, 3) for ms in (one.start_ms, one.end_ms))
    plain: dict[str, Any] = {"start": start, "end": end, "lost": one.lost, "cause": one.event}
    if frames is not None:
        start_ns, end_ns = (int(ms * 1e6) + clock.origin_ns for ms in (one.start_ms, one.end_ms))
        plain["packets"] = frames.numbers_within(start_ns, end_ns)
    return plain


def _sas(
    lines: Sequence[SaLine],
    matters: Matters,
    frames: Frames | None,
    headers: Headers | None,
    clock: Clock,
) -> dict[str, Any]:
    wire = esp_by_spi(frames, headers) if frames is not None and headers is not None else {}

    def used(spi: str) -> dict[str, Any] | None:
        found = wire.get(spi)
        if found is None:
            return None
        times = {"from": clock.ms(found.first_ns), "to": clock.ms(found.last_ns)}
        return times | {"packets": found.packets, "first": found.first, "last": found.last}

    important = [
        any(
            time_ns is not None and matters(clock.ms(time_ns))
            for time_ns in (line.start_ns, line.effective_ns, line.old_ns, line.end_ns)
        )
        for line in lines
    ]
    shown = [
        {
            "node": line.node,
            "kind": line.kind,
            "name": line.name,
            "in": line.inbound,
            "out": line.outbound,
            "start": None if line.start_ns is None else clock.ms(line.start_ns),
            "effective": None if line.effective_ns is None else clock.ms(line.effective_ns),
            "trigger": line.effective_by,
            "old": None if line.old_ns is None else clock.ms(line.old_ns),
            "end": None if line.end_ns is None else clock.ms(line.end_ns),
            "by": line.ended_by,
            "detail": line.detail,
            "used": used(line.outbound) if line.kind == "child" else None,
            "heard": used(line.inbound) if line.kind == "child" else None,
        }
        for line in (lines[index] for index in sample(important, MOST_LINES))
    ]
    return {"total": len(lines), "lines": shown}


def _addresses(events: Sequence[Event], clock: Clock) -> dict[str, Any]:
    lines = address_lines(events)

    def ms(time_ns: int | None) -> float | None:
        return None if time_ns is None else clock.ms(time_ns)

    shown = [
        {
            "node": line.node,
            "address": line.address,
            "start": ms(line.start_ns),
            "deprecated": ms(line.deprecated_ns),
            "end": ms(line.end_ns),
            "preferred": line.preferred_s,
            "valid": line.valid_s,
        }
        for line in lines[:MOST_LINES]
    ]
    return {"total": len(lines), "lines": shown}


def _hops(lines: Sequence[HopLine], matters: Matters, clock: Clock) -> dict[str, Any]:
    important = [bool(line.failed) or matters(clock.ms(line.start_ns)) for line in lines]
    shown = [
        {
            "node": line.node,
            "hop": line.number,
            "first": line.first,
            "second": line.second,
            "start": clock.ms(line.start_ns),
            "end": None if line.end_ns is None else clock.ms(line.end_ns),
            "phases": {phase: round(ms, 3) for phase, ms in line.phases_ms.items()},
            "outcomes": line.outcomes,
            "failed": line.failed,
        }
        for line in (lines[index] for index in sample(important, MOST_LINES))
    ]
    return {"total": len(lines), "lines": shown}


def _events(events: Sequence[Event], matters: Matters, clock: Clock, frames: Frames | None) -> dict[str, Any]:
    plain = [
        {
            "t": clock.ms(event.time_ns),
            "node": event.node,
            "kind": event.kind,
            "data": event.data,
            **({"n": frames.number_before(event.time_ns)} if frames is not None else {}),
        }
        for event in events
    ]
    return {"total": len(plain), "shown": fitting(plain, matters, EVENT_OCTETS)}


def _span(values: Mapping[str, Any]) -> list[float]:
    """The whole time of the run that anything is known of."""
    times = [one["t"] for one in (*values["ladder"]["messages"], *values["events"]["shown"])]
    times += [time for track in _tracks(values["flows"]) for time in (track["start"], track["end"])]
    return [min(times), max(times)] if times else [0.0, 1.0]


def _traffic(flows: Sequence[Mapping[str, Any]]) -> list[float] | None:
    """The time in which probes were under way."""
    tracks = _tracks(flows)
    if not tracks:
        return None
    return [min(track["start"] for track in tracks), max(track["end"] for track in tracks)]


def _tracks(flows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [flow["track"] for flow in flows if flow["track"] is not None]
