"""The verdict of a run: ``verdict.json``, schema ``hopbed.verdict/1``.

Other tools read it. A field may be added; a change of what one means raises the number.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from nodes import errors

SCHEMA: Final = "hopbed.verdict/1"
_SCHEMA = re.compile(r"hopbed\.verdict/([0-9]+)")


class Outcome(enum.StrEnum):
    """How a check, and a whole run, came out.

    ``inconclusive``: the evidence does not bear a verdict. ``error``: the run did not get to its end.
    """

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was expected of a run; ``expected`` and ``measured`` are JSON values."""

    name: str
    expected: Any
    measured: Any
    outcome: Outcome

    @classmethod
    def of(cls, name: str, *, expected: Any, measured: Any, passed: bool) -> Check:
        """A check that passed or failed."""
        outcome = Outcome.PASS if passed else Outcome.FAIL
        return cls(name=name, expected=expected, measured=measured, outcome=outcome)


class Interruption(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a flow did not go on; in ms since the run began. ``event`` is what caused it."""

    start_ms: float
    end_ms: float
    lost: int
    event: str | None = None


class FlowVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the probes of one flow.

    Attributes:
        longest_gap_ms: the longest time without an arrival, against the sender's schedule.
        delay_p50_ms, delay_p99_ms, delay_max_ms: one-way delay (RFC 7679) of the probes that arrived, its
            median, 99th percentile and maximum; None where none arrived.
        loss_derived_ms: lost probes times the interval (RFC 6412, loss-derived).
        timestamp_derived_ms: all interruptions together (RFC 6412, timestamp-based).
    """

    name: str
    source: str
    destination: str
    transport: str
    sent: int
    received: int
    lost: int
    duplicated: int
    reordered: int
    longest_gap_ms: float
    delay_p50_ms: float | None = None
    delay_p99_ms: float | None = None
    delay_max_ms: float | None = None
    loss_derived_ms: float | None = None
    timestamp_derived_ms: float | None = None
    interruptions: tuple[Interruption, ...] = ()


class CaptureTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The packets of all captures together, and those that were dropped for want of room."""

    packets: int = 0
    dropped: int = 0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of a run.

    Attributes:
        schema: :data:`SCHEMA`.
        scenario: its name.
        parameters: the scenario's, by name, defaults too.
        seed: what every random choice of the run came from.
        runtime: ``namespaces`` or ``docker``.
        dataplane: what carried ESP: ``kernel`` or ``userspace``; ``none`` where there was no tunnel.
        dad: the policy for duplicate address detection: ``nodad``, ``optimistic`` or ``full``.
        outcome: of the whole run, see :func:`overall`.
        versions: of everything that took part, by name.
    """

    schema: str = SCHEMA
    scenario: str
    parameters: dict[str, Any]
    seed: int
    runtime: str
    dataplane: str
    dad: str
    outcome: Outcome
    checks: tuple[Check, ...]
    flows: tuple[FlowVerdict, ...]
    capture: CaptureTotals
    versions: dict[str, str]

    def unmet(self) -> str:
        """The checks that did not pass, one a line, for the message of whoever expected them to."""
        return "\n".join(
            f"{check.outcome.value}: {check.name}: expected {check.expected}, measured {check.measured}"
            for check in self.checks
            if check.outcome is not Outcome.PASS
        )


def overall(checks: Iterable[Check], flows: Iterable[FlowVerdict], capture: CaptureTotals) -> Outcome:
    """The outcome of a run.

    ``error`` if the run did not get to its end; else ``fail`` if any check failed; else ``inconclusive`` if a
    check is, if the capture lost packets, if a flow sent nothing, or if nothing was checked; else ``pass``.
    """
    outcomes = {check.outcome for check in checks}
    if Outcome.ERROR in outcomes:
        return Outcome.ERROR
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    if outcomes != {Outcome.PASS} or capture.dropped or any(flow.sent == 0 for flow in flows):
        return Outcome.INCONCLUSIVE
    return Outcome.PASS


def checks_of_the_evidence(flows: Sequence[FlowVerdict], capture: CaptureTotals) -> tuple[Check, ...]:
    """The checks that every run has, for :func:`overall` to be understood from the checks alone."""
    silent = [flow.name for flow in flows if flow.sent == 0]
    found = [_or_inconclusive("the capture dropped no packet", 0, capture.dropped)]
    if flows:
        found.append(_or_inconclusive("every flow sent packets", [], silent))
    return tuple(found)


def _or_inconclusive(name: str, expected: object, measured: object) -> Check:
    outcome = Outcome.PASS if expected == measured else Outcome.INCONCLUSIVE
    return Check(name=name, expected=expected, measured=measured, outcome=outcome)


def encode(verdict: Verdict) -> bytes:
    """The verdict as the text of ``verdict.json``."""
    return msgspec.json.format(msgspec.json.encode(verdict), indent=2) + b"\n"


def decode(text: bytes) -> Verdict:
    """The verdict from the text of ``verdict.json``.

    Raises:
        UsageError: it is none, or of a later schema than this version understands.
    """
    try:
        schema = str(msgspec.json.decode(text, type=Mapping[str, Any]).get("schema"))
        known = _SCHEMA.fullmatch(schema)
        if known is None:
            raise errors.UsageError(f"not a verdict: its schema is {schema!r}, not {SCHEMA!r}")
        if schema != SCHEMA:
            raise errors.UsageError(f"a verdict of schema {schema!r}; this Hopbed reads {SCHEMA!r}")
        return msgspec.json.decode(text, type=Verdict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.UsageError(f"not a verdict: {error}") from None
