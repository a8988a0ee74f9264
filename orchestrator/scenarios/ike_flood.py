"""``ike-abnormality`` with ``kind=third-party-flood``: forged first messages, and a good peer beside them.

The receiver takes anybody (a road warrior's connection, as gateways have it), so that it has to take each
forged message seriously; the good peer is a partner that it knows by its address.
"""

from __future__ import annotations

from typing import Literal, Protocol

import anyio

from orchestrator import tunnel
from orchestrator.breaking import CONNECTION, Breakage, Kind
from orchestrator.daemon_watch import DaemonWatch
from orchestrator.evidence.verdict import Check
from orchestrator.flood import flood
from orchestrator.retrying import Retrying
from orchestrator.scenarios import ike_abnormality_figures as figures
from orchestrator.scenarios.stage import Stage
from orchestrator.tasks import background

SLOWEST = 2.0
"""Seconds in which a good peer's negotiation has to be over, flood or not."""
MOST_HALF_OPEN = 1000
"""What the guard lets a flood make: 100 at once and 20 a second, each gone after charon's 30 s."""
MOST_GROWTH_MIB = 32
NEGOTIATIONS = "negotiations of the good peer"
FAILED = "negotiations of the good peer that failed"
LONGEST = "longest negotiation of the good peer, s"
FORGED = "forged messages"
ANSWERS = "answers to forged messages"
LONGEST_LOOK = "longest time that the receiver did not answer VICI, s"


class Asked(Protocol):
    """The parameters of a flood."""

    @property
    def version(self) -> Literal[1, 2]:
        """Of IKE."""

    @property
    def is_on(self) -> bool:
        """Whether the abnormality is handled."""

    @property
    def duration(self) -> float:
        """Seconds."""

    @property
    def retry(self) -> float:
        """The good peer's period, s."""

    @property
    def flood_rate(self) -> int:
        """Messages per second."""

    @property
    def flood_count(self) -> int:
        """Messages in all."""


async def play(stage: Stage, asked: Asked, sender: str, receiver: str, third: str) -> None:
    """Flood the receiver, and let the good peer negotiate again and again until the duration is over."""
    bed = stage.bed
    settings = tunnel.Settings(version=asked.version, child_rekey_time=0, ike_rekey_time=0)
    breakage = Breakage.of(bed.plan, sender, receiver, Kind.THIRD_PARTY_FLOOD, settings)
    await breakage.make(bed)
    watch = DaemonWatch(bed, (receiver,))
    await watch.begin()
    good = Retrying(bed.node(sender).tunnel_end, sender, CONNECTION, asked.retry, bed.events)
    async with background() as tasks:
        tasks.start_soon(watch.run)
        figures.say_begin(bed.events)
        async with flood(
            bed,
            third,
            receiver,
            version=asked.version,
            rate=asked.flood_rate,
            count=asked.flood_count,
            seed=stage.random.randrange(2**32),
        ):
            tasks.start_soon(good.run_on)
            await anyio.sleep(asked.duration)  # the schedule of the scenario, not a wait for something
        pending = good.under_way
        figures.say_end(bed.events)
    _check(stage, asked, watch, good, pending, receiver)


def _check(
    stage: Stage, asked: Asked, watch: DaemonWatch, good: Retrying, pending: float, receiver: str
) -> None:
    found = watch.figures[receiver]
    failed = sum(good.failures.values())
    slowest = round(max([*good.times, pending], default=0.0), 3)
    growth = round((found.memory_peak - found.memory_start) / figures.MIB, 2)
    figures.report(stage, NEGOTIATIONS, len(good.times))
    for name, measured, most in (
        (FAILED, failed, 0),
        (LONGEST, slowest, SLOWEST),
        (figures.peak_figure("receiver"), found.half_open_peak, MOST_HALF_OPEN),
        (figures.growth_figure("receiver"), growth, MOST_GROWTH_MIB),
    ):
        if asked.is_on:
            check = Check.of(name, expected=f"at most {most:g}", measured=measured, passed=measured <= most)
            stage.add(check)
        else:
            figures.report(stage, name, measured)
    figures.report(stage, figures.left_figure("receiver"), found.half_open_left)
    figures.report(stage, figures.memory_figure("receiver"), round(found.memory_peak / figures.MIB, 1))
    cpu = round(found.cpu_seconds * 1000 * 60 / asked.duration)
    figures.report(stage, figures.cpu_figure("receiver"), cpu)
    figures.report(stage, LONGEST_LOOK, round(found.slowest_look, 2))


def inspect(stage: Stage, sender: str, receiver: str) -> None:
    """Let the capture say what was sent, and what was answered."""
    known = {name: stage.bed.plan.node(name).address.ip for name in (sender, receiver)}
    messages = figures.seen(stage).messages()
    forged = [message for message in messages if message.source not in known.values()]
    answers = [
        message
        for message in messages
        if message.source == known[receiver] and message.destination not in known.values()
    ]
    sent = next(event.data["sent"] for event in stage.bed.events.past if event.kind == "flood.ended")
    stage.add(Check.of(FORGED, expected=sent, measured=len(forged), passed=len(forged) == sent))
    figures.report(stage, ANSWERS, len(answers))
