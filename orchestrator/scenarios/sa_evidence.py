"""What the SA moments of a run put into its verdict: the daemons' word, and the packets. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from orchestrator.evidence.verdict import Check, Outcome
from orchestrator.scenarios.footprint import Footprint
from orchestrator.scenarios.sa_moments import Moments

Responder = Literal["strongswan", "stock", "early"]

LATE_MS = 500.0
"""A third message that follows the second one later than this was not sent at once: first retransmissions of
daemons come after a second or more."""
GROWTH = 0.1
"""The share by which a daemon's memory may grow in a run that is long enough to tell."""
GROWTH_FLOOR = 2 * 1024 * 1024
"""Octets that it may grow by in any case: an allocator takes memory in pieces of about a MiB."""


def third_message(seen: Sequence[Moments], third: str, delay_ms: float | None) -> Check:
    """Whether the third messages were lost or late on the wire as they were to be; else *inconclusive*.

    Args:
        seen: every negotiation.
        third: what was asked for: ``pass``, ``drop`` or ``delay:D``.
        delay_ms: D.
    """
    lags = [one.exchange.third_after_ms for one in seen if one.exchange is not None]
    known = [lag for lag in lags if lag is not None]
    if third == "pass":
        expected, as_asked = (
            "right after the second message",
            [lag is not None and lag < LATE_MS for lag in lags],
        )
    elif delay_ms is not None:
        expected = f"{delay_ms:g} ms after the second message, or later"
        as_asked = [lag is not None and lag >= delay_ms for lag in lags]
    else:
        expected, as_asked = "not when it was sent", [lag is None or lag >= LATE_MS for lag in lags]
    measured: dict[str, Any] = {"as expected": f"{sum(as_asked)} of {len(seen)}"}
    if known:
        measured["after the second message, ms"] = _span(known)
    if len(known) < len(lags):
        measured["never seen"] = len(lags) - len(known)
    return Check(
        name="the third message, on the wire",
        expected=expected,
        measured=measured,
        outcome=Outcome.PASS if seen and sum(as_asked) == len(seen) else Outcome.INCONCLUSIVE,
    )


def installed(seen: Sequence[Moments], responder: Responder) -> Check:
    """When the responder installed its SAs."""
    early = responder == "early"
    good = [one.installed_before_second if early else one.third_came_first for one in seen]
    return _moment(
        "SA installed at the responder",
        expected="on the first message: before the second one left" if early else "on the third message",
        good=good,
        ms=[one.installed_ms for one in seen],
    )


def effective(seen: Sequence[Moments], responder: Responder, *, esp_trigger: bool) -> Check:
    """When the responder's SAs became effective, and by what."""
    by_esp = responder == "early" and esp_trigger
    reasons: dict[str, int] = {}
    for one in seen:
        reasons[one.sa.by or "the third message"] = reasons.get(one.sa.by or "the third message", 0) + 1
    return _moment(
        "SA effective at the responder",
        expected="on ESP under it or on the third message" if by_esp else "on the third message",
        good=[one.effective_for_a_reason and (by_esp or one.sa.by != "esp") for one in seen],
        ms=[one.effective_ms for one in seen],
        more={"by": reasons},
    )


def esp_before_third(seen: Sequence[Moments], third: str) -> Check:
    """In how many negotiations the initiator sent ESP under the new SPI before its third message was there.

    Stock timing loses those packets. Where the third message was lost or late there must be some.
    """
    found = sum(one.esp_before_third for one in seen)
    enough = third == "pass" or (bool(seen) and found == len(seen))
    return Check(
        name="negotiations with ESP before the third message",
        expected="any number" if third == "pass" else len(seen),
        measured=found,
        outcome=Outcome.PASS if enough else Outcome.INCONCLUSIVE,
    )


def figures(seen: Sequence[Moments]) -> list[Check]:
    """Figures to be compared between runs; whatever they are they pass."""
    effective_ms = [ms for one in seen if (ms := one.effective_ms) is not None]
    if not effective_ms:
        return []
    name = "first message to effective SA, median ms"
    return [_reported(name, round(statistics.median(effective_ms), 3))]


def sas_flat(before: Mapping[str, Footprint], after: Mapping[str, Footprint]) -> list[Check]:
    """At each node as many CHILD_SAs at the end as at the beginning."""
    return [
        Check.of(
            f"CHILD_SAs at the end at {node}",
            expected=before[node].child_sas,
            measured=found.child_sas,
            passed=found.child_sas == before[node].child_sas,
        )
        for node, found in after.items()
    ]


def memory_flat(
    before: Mapping[str, Footprint], after: Mapping[str, Footprint], *, judged: bool
) -> list[Check]:
    """Of each program of each node the resident set at the end, beside the beginning."""
    checks = []
    for node, found in after.items():
        for program, octets in found.memory.items():
            began = before[node].memory.get(program, 0)
            most = began + max(round(began * GROWTH), GROWTH_FLOOR)
            expected = f"at most {_mib(most)}" if judged else "whatever it is: the run is too short to tell"
            checks.append(
                Check.of(
                    f"memory of the {program} of {node}",
                    expected=expected,
                    measured=f"{_mib(octets)} at the end, {_mib(began)} at the beginning",
                    passed=not judged or octets <= most,
                )
            )
    return checks


def _moment(
    name: str,
    *,
    expected: str,
    good: Sequence[bool],
    ms: Sequence[float | None],
    more: Mapping[str, Any] | None = None,
) -> Check:
    measured: dict[str, Any] = {"confirmed by packets": f"{sum(good)} of {len(good)}", **(more or {})}
    if known := [one for one in ms if one is not None]:
        measured["after the first message, ms"] = _span(known)
    return Check.of(name, expected=expected, measured=measured, passed=bool(good) and all(good))


def _reported(name: str, measured: float) -> Check:
    return Check.of(name, expected="whatever it is", measured=measured, passed=True)


def _span(values: Sequence[float]) -> dict[str, float]:
    figures: Mapping[str, Callable[[Sequence[float]], float]] = {
        "least": min,
        "median": statistics.median,
        "greatest": max,
    }
    if len(values) == 1:
        return {"once": round(values[0], 3)}
    return {name: round(float(figure(values)), 3) for name, figure in figures.items()}


def _mib(octets: int) -> str:
    return f"{octets / 1024 / 1024:.1f} MiB"
