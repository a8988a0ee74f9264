"""What a flow that ended puts into the verdict."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from nodes.events import Event
from orchestrator.continuity.attribution import cause_of, describe
from orchestrator.evidence.verdict import Check, FlowVerdict, Outcome
from orchestrator.flows import FlowResult


def flow_verdict(flow: FlowResult, events: Iterable[Event], origin_ns: int) -> FlowVerdict:
    """The flow's figures, each interruption with the event of ``events`` that caused it.

    Times are ms since ``origin_ns`` (CLOCK_MONOTONIC).
    """
    plain = flow.as_verdict(origin_ns)
    past = list(events)
    for entry, interruption in zip(plain["interruptions"], flow.continuity.interruptions, strict=True):
        cause = cause_of(interruption, past)
        entry["event"] = describe(cause) if cause is not None else None
    return msgspec.convert(plain, FlowVerdict)


def doubts(flow: FlowResult) -> list[Check]:
    """An inconclusive check for each reason why no verdict can rest on the flow."""
    return [
        Check(
            name=f"evidence of {flow.spec.name}",
            expected="whole",
            measured=doubt,
            outcome=Outcome.INCONCLUSIVE,
        )
        for doubt in flow.doubts
    ]
