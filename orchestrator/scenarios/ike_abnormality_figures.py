"""What ``ike-abnormality`` measures, as checks: from the captures, from charon's own counts, from the kernel.

A figure that nobody judges is reported with the outcome *pass*; with ``handling=on`` those that the method
promises something about are judged.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from nodes.events import Event
from orchestrator.breaking import Breakage
from orchestrator.capture.attempts import attempts, spacings
from orchestrator.capture.classify import Headers, address_is, classify
from orchestrator.capture.ike_messages import IkeMessage, ike_messages
from orchestrator.capture.pcapng import Packets, read_file
from orchestrator.daemon_watch import DaemonFigures
from orchestrator.events import EventStream
from orchestrator.evidence.verdict import Check
from orchestrator.runtimes.base import BRIDGE
from orchestrator.scenarios.stage import Stage

BEGIN, END, MENDED = "abnormality.begin", "abnormality.end", "abnormality.mended"
REPORTED = "reported"
ATTEMPTS = "attempts"
SPACING = "shortest time between attempts, s"
REPAIR = "from the repair to ESP both ways, s"
NEVER_UP = "no tunnel came up while it was broken"
MIB = 1024 * 1024
TOLERANCE = 0.1
"""Seconds: a time out of a capture is compared with a timer of a daemon."""
AT_ONCE = 1.0
"""Seconds within which a repair is felt at once, beside the sender's own period."""
SETTLED = 2.0
"""Seconds beyond its set time in which the sender has to be back."""


def messages_figure(side: str) -> str:
    """The name of a figure: how many IKE messages one side sent in a minute."""
    return f"IKE messages a minute from the {side}"


def octets_figure(side: str) -> str:
    """The name of a figure: how many octets of IKE, IPv6 headers too, one side sent in a minute."""
    return f"IKE octets a minute from the {side}"


def peak_figure(side: str) -> str:
    """The name of a figure: the most half-open IKE SAs at one side."""
    return f"half-open IKE SAs at the {side}, peak"


def left_figure(side: str) -> str:
    """The name of a figure: the half-open IKE SAs that one side has for good."""
    return f"half-open IKE SAs at the {side}, left"


def cpu_figure(side: str) -> str:
    """The name of a figure: CPU time of one side's daemon."""
    return f"CPU time of the daemon at the {side}, ms a minute"


def memory_figure(side: str) -> str:
    """The name of a figure: the resident set of one side's daemon, at most."""
    return f"memory of the daemon at the {side}, peak MiB"


def growth_figure(side: str) -> str:
    """The name of a figure: by how much that was more than at the begin."""
    return f"memory of the daemon at the {side}, growth MiB"


class Asked(Protocol):
    """The parameters that figures are judged by."""

    @property
    def is_on(self) -> bool:
        """Whether the abnormality is handled."""

    @property
    def t2(self) -> float:
        """How long the sender is inactive, s."""

    @property
    def retry(self) -> float:
        """The sender's period, s."""

    @property
    def duration(self) -> float:
        """For how long it stays broken, s."""

    @property
    def repair(self) -> bool:
        """Whether it is mended."""

    @property
    def activate(self) -> bool:
        """Whether both ends are told to be active then."""


def report(stage: Stage, name: str, measured: Any) -> None:
    """Report a figure without judging it."""
    stage.add(Check.of(name, expected=REPORTED, measured=measured, passed=True))


def say_begin(events: EventStream) -> None:
    """The sender begins to try."""
    events.say(BEGIN, realtime_ns=time.time_ns())


def say_end(events: EventStream) -> None:
    """What is measured ends."""
    events.say(END, realtime_ns=time.time_ns())


def say_mended(events: EventStream, breakage: Breakage) -> None:
    """The configuration is right from here on."""
    events.say(MENDED, node=breakage.sender, realtime_ns=time.time_ns())


def check_never_up(stage: Stage) -> None:
    """The abnormality was none: the sender came through."""
    stage.add(Check.of(NEVER_UP, expected=True, measured=False, passed=False))


def check_daemons(stage: Stage, figures: Mapping[str, DaemonFigures], asked: Asked) -> None:
    """What both daemons held and used; handled, nothing half-open is left."""
    for side, found in zip(("sender", "receiver"), figures.values(), strict=True):
        report(stage, peak_figure(side), found.half_open_peak)
        left = found.half_open_left
        if asked.is_on:
            stage.add(Check.of(left_figure(side), expected=0, measured=left, passed=left == 0))
        else:
            report(stage, left_figure(side), left)
        report(stage, cpu_figure(side), round(found.cpu_seconds * 1000 * 60 / asked.duration))
        report(stage, memory_figure(side), round(found.memory_peak / MIB, 1))
        report(stage, growth_figure(side), round((found.memory_peak - found.memory_start) / MIB, 2))


class Seen(NamedTuple):
    """The capture of the bridge, and when what was measured began and ended, in ns since 1970."""

    packets: Packets
    headers: Headers
    begin_ns: int
    end_ns: int

    @property
    def minutes(self) -> float:
        """How long it lasted."""
        return (self.end_ns - self.begin_ns) / 60e9

    def messages(self) -> list[IkeMessage]:
        """The IKE messages of that time."""
        return [
            message
            for message in ike_messages(self.packets, self.headers)
            if self.begin_ns <= message.time_ns <= self.end_ns
        ]


def seen(stage: Stage) -> Seen:
    """Read the capture of the bridge."""
    packets = read_file(stage.captures[BRIDGE])
    begin, end = (moment(stage.bed.events.past, kind) for kind in (BEGIN, END))
    assert begin is not None
    assert end is not None
    return Seen(packets, classify(packets), begin, end)


def moment(past: Sequence[Event], kind: str) -> int | None:
    """When an event of ours was said, in ns since 1970, as captures count; None where it was not."""
    return next((int(event.data["realtime_ns"]) for event in past if event.kind == kind), None)


def inspect(stage: Stage, asked: Asked, sender: str, receiver: str) -> None:
    """The figures of the wire."""
    found = seen(stage)
    messages = found.messages()
    addresses = {
        side: stage.bed.plan.node(name).address.ip
        for side, name in (("sender", sender), ("receiver", receiver))
    }
    for side, address in addresses.items():
        sent = [message for message in messages if message.source == address]
        report(stage, messages_figure(side), round(len(sent) / found.minutes, 1))
        report(stage, octets_figure(side), round(sum(one.octets for one in sent) / found.minutes))
    _check_attempts(stage, asked, messages, addresses["sender"], found.minutes * 60)
    if asked.repair:
        _check_repair(stage, asked, found, (sender, receiver))


def _check_attempts(
    stage: Stage,
    asked: Asked,
    messages: Sequence[IkeMessage],
    sender: ipaddress.IPv6Address,
    seconds: float,
) -> None:
    begun = attempts(messages, sender)
    shortest = min(spacings(begun), default=None)
    if not asked.is_on:
        report(stage, ATTEMPTS, len(begun))
        if shortest is not None:
            report(stage, SPACING, round(shortest, 2))
        return
    most = 1 + int(seconds // asked.t2)
    stage.add(
        Check.of(ATTEMPTS, expected=f"1 to {most}", measured=len(begun), passed=1 <= len(begun) <= most)
    )
    if shortest is not None:
        least = asked.t2 - TOLERANCE
        stage.add(
            Check.of(
                SPACING,
                expected=f"at least {asked.t2:g}",
                measured=round(shortest, 2),
                passed=shortest >= least,
            )
        )


def _check_repair(stage: Stage, asked: Asked, found: Seen, ends: tuple[str, str]) -> None:
    mended = moment(stage.bed.events.past, MENDED)
    if mended is None:
        return  # it was up before, and a check says so
    up = _esp_both_ways(stage, found, ends)
    seconds = None if up is None else round(max(up - mended, 0) / 1e9, 2)
    if not asked.is_on:
        report(stage, REPAIR, "never" if seconds is None else seconds)
        return
    limit = asked.retry + AT_ONCE if asked.activate else asked.t2 + SETTLED
    stage.add(
        Check.of(
            REPAIR,
            expected=f"at most {limit:g}",
            measured="never" if seconds is None else seconds,
            passed=seconds is not None and seconds <= limit,
        )
    )


def _esp_both_ways(stage: Stage, found: Seen, ends: tuple[str, str]) -> int | None:
    """When ESP had gone both ways under an SA that was installed after the end; None: it never did."""
    first, second = (stage.bed.plan.node(name).address.ip for name in ends)
    spis: set[int] = set()
    over = False
    for event in stage.bed.events.past:
        over = over or event.kind == END
        if over and event.kind in ("child-sa.installed", "child-sa.rekeyed"):
            child = event.data.get("new", event.data)
            spis |= {int(child[way], 16) for way in ("spi_in", "spi_out") if child.get(way)}
    headers = found.headers
    new = headers.is_esp & np.isin(headers.spi, list(spis)) & (found.packets.time_ns >= found.end_ns)
    times = []
    for source, destination in ((first, second), (second, first)):
        way = new & address_is(headers.source, source) & address_is(headers.destination, destination)
        if not way.any():
            return None
        times.append(int(found.packets.time_ns[way].min()))
    return max(times)
