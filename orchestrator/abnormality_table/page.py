"""The page, from the verdicts of the runs. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.evidence.verdict import Outcome, Verdict
from orchestrator.scenarios import ike_abnormality_figures as figures
from orchestrator.scenarios import ike_flood

NOTHING = "–"
STEADY = ("lost on steady-a-b", "lost on steady-b-a")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What stands above the tables.

    Attributes:
        date: of the run, ISO 8601.
        command: what makes the page again.
        machine: processors and kernel.
        seconds: how long it all took; None where some runs are from before.
        jobs: how many testbeds were up at a time.
        times: T1 and T2, and for how long each stays broken.
        long_times: the same, of the comparison by charon's timers.
    """

    date: str
    command: str
    machine: str
    seconds: float | None
    jobs: int
    times: str
    long_times: str


Sides = Mapping[str, Verdict | None]
"""The verdict of each side by ``handling``; None where the run did not get to its end."""


def measured(verdict: Verdict | None, name: str) -> Any:
    """What a check of this name measured; None where there is none."""
    if verdict is None:
        return None
    return next((check.measured for check in verdict.checks if check.name == name), None)


def both(verdict: Verdict | None, figure: Any) -> float | None:
    """A figure of the sender and of the receiver, added up."""
    values = [measured(verdict, figure(side)) for side in ("sender", "receiver")]
    return sum(values) if all(isinstance(value, int | float) for value in values) else None


def attempts_a_minute(verdict: Verdict | None) -> float | None:
    """How often the sender began in a minute of the time in which it stayed broken."""
    number = measured(verdict, figures.ATTEMPTS)
    if verdict is None or number is None:
        return None
    return float(number) * 60 / float(verdict.parameters["duration"])


def said(verdict: Verdict | None) -> str:
    """The outcome, with the names of the checks that did not pass."""
    if verdict is None:
        return "error"
    failed = [check.name for check in verdict.checks if check.outcome is not Outcome.PASS]
    return verdict.outcome.value + (f": {', '.join(failed)}" if failed else "")


def text(value: Any) -> str:
    """A figure in a cell, to three digits."""
    if value is None:
        return NOTHING
    if isinstance(value, float) and abs(value) < 100:
        return f"{value:.3g}"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown; the first column is words, the others figures."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(text(cell) for cell in row) + " |" for row in rows)])


def kinds_table(runs: Mapping[tuple[str, str], Sides]) -> str:
    """Every kind but the flood: a row a kind and version, off and on beside each other."""
    head = ["kind, IKE version"]
    for what in ("messages/min", "octets/min", "attempts/min", "half-open left", "half-open peak"):
        head += [f"{what} off", "on"]
    head += ["CPU ms/min off", "on", "repair s off", "on", "verdict on"]
    rows = []
    for (kind, ike), sides in runs.items():
        off, on = sides["off"], sides["on"]
        row: list[Any] = [f"{kind}, {ike}"]
        for figure in (figures.messages_figure, figures.octets_figure):
            row += [both(off, figure), both(on, figure)]
        row += [attempts_a_minute(off), attempts_a_minute(on)]
        for figure in (figures.left_figure, figures.peak_figure, figures.cpu_figure):
            row += [both(off, figure), both(on, figure)]
        row += [measured(off, figures.REPAIR), measured(on, figures.REPAIR), said(on)]
        rows.append(row)
    return table(head, rows)


def activated_table(runs: Mapping[tuple[str, str], Sides]) -> str:
    """The time from the repair to the tunnel where both ends are told to be active."""
    return table(
        ["kind, IKE version", "repair with `activate` s", "verdict"],
        [
            [f"{kind}, {ike}", measured(sides["on"], figures.REPAIR), said(sides["on"])]
            for (kind, ike), sides in runs.items()
        ],
    )


def long_table(runs: Mapping[str, Sides]) -> str:
    """The pre-shared key mismatch of IKEv1 by charon's timers, with the ratio of messages."""
    rows = []
    for timers, sides in runs.items():
        off, on = (both(sides[side], figures.messages_figure) for side in ("off", "on"))
        octets = (both(sides[side], figures.octets_figure) for side in ("off", "on"))
        ratio = off / on if off and on else None
        rows.append([timers, off, on, None if ratio is None else f"{ratio:.1f}", *octets, said(sides["on"])])
    head = ["charon's timers", "messages/min off", "on", "off : on", "octets/min off", "on", "verdict on"]
    return table(head, rows)


def flood_table(runs: Mapping[str, Sides]) -> str:
    """The flood of forged first messages."""
    names = (
        *(ike_flood.FORGED, ike_flood.ANSWERS, ike_flood.NEGOTIATIONS, ike_flood.FAILED, ike_flood.LONGEST),
        *(figures.peak_figure("receiver"), figures.memory_figure("receiver")),
        *(figures.growth_figure("receiver"), figures.cpu_figure("receiver"), ike_flood.LONGEST_LOOK),
    )
    head = ["", *(f"IKEv{ike} {side}" for ike in runs for side in ("off", "on"))]
    verdicts = [runs[ike][side] for ike in runs for side in ("off", "on")]
    rows: list[list[Any]] = [[name, *(measured(verdict, name) for verdict in verdicts)] for name in names]
    return table(head, [*rows, ["verdict", *(said(verdict) for verdict in verdicts)]])


def steady_table(runs: Mapping[tuple[str, str], Sides]) -> str:
    """What an established tunnel between the same addresses lost meanwhile."""
    rows = []
    for (kind, ike), sides in runs.items():
        cells = [measured(sides[side], name) for side in ("off", "on") for name in STEADY]
        rows.append([f"{kind}, {ike}", *cells, said(sides["on"])])
    return table(
        ["kind, IKE version", "off, there", "off, back", "on, there", "on, back", "verdict on"], rows
    )


def whole(
    setting: Setting,
    *,
    kinds: Mapping[tuple[str, str], Sides],
    soon: Mapping[tuple[str, str], Sides],
    long: Mapping[str, Sides],
    floods: Mapping[str, Sides],
    steady: Mapping[tuple[str, str], Sides],
) -> str:
    """The page."""
    took = "" if setting.seconds is None else f", in {setting.seconds / 60:.0f} minutes"
    parts = [
        "# Abnormal negotiations, without the handling and with it",
        _paragraph(f"""
            Made by `{setting.command}` on {setting.date}{took}, by {setting.machine}; up to {setting.jobs}
            testbeds were up at a time, for most of what they do is to wait. Do not edit it: run the command
            again. What each figure is stands in [ike-abnormality.md](ike-abnormality.md).
            """),
        _paragraph("""
            Each pair is one `hopbed ab ike-abnormality --vary handling=off,on`. *off* is stock strongSwan.
            The sender never stops trying: it is told to initiate again 2 s after each failure, with
            `keyingtries` 0, `retransmit_timeout` 1, `retransmit_base` 1.3 and `retransmit_tries` 4, by which
            an attempt that nobody answers is over after 9 s. Figures of both ends are added up.
            """),
        f"## Every kind: {setting.times}",
        kinds_table(kinds),
        _paragraph("""
            *Repair* is the time from the moment in which the configuration was right again until ESP had gone
            both ways; nobody called `activate`.
            """),
        "## The repair with `activate`",
        _paragraph("""
            Mended 12 s after the sender began, while both ends were inactive; then `activate` was called at
            both.
            """),
        activated_table(soon),
        f"## IKEv1, another pre-shared key: {setting.long_times}",
        long_table(long),
        "## 20,000 forged first messages from as many addresses, 2,000 a second",
        _paragraph("""
            The receiver takes anybody (`remote_addrs = ::`), so that it has to take each message seriously.
            Every 2 s a good peer, whose address has a connection of its own, negotiates a tunnel anew, for
            60 s. In IKEv2 charon's own cookies (RFC 7296 §2.6) bound the half-open SAs; IKEv1 has nothing of
            the kind.
            """),
        flood_table(floods),
        "## An established tunnel between the same addresses, 500 packets/s each way",
        _paragraph("""
            Lost while another negotiation failed again and again for 40 s, and was then mended.
            """),
        steady_table(steady),
    ]
    return "\n\n".join(parts) + "\n"


def _paragraph(words: str) -> str:
    """A paragraph as one line: where it breaks is the reader's matter."""
    return " ".join(words.split())
