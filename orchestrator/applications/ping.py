"""ping, unmodified: a stream of ICMPv6 echo requests, and whether each was answered."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from orchestrator.applications.application import (
    Application,
    Ended,
    Ends,
    Finding,
    check_program,
    client,
    until_told,
)

_NAME = "ping"
_UNTIL_TOLD = """
"$@" </dev/null & read -r _
kill -INT $!
wait $!
"""
_NUMBERS = 1 << 16
_HALF = _NUMBERS // 2
_COUNTS = re.compile(rb"([0-9]+) packets transmitted, ([0-9]+) received")
_ANSWER = re.compile(rb"icmp_seq=([0-9]+) .*time=")
_SLOWEST = re.compile(rb"rtt min/avg/max/mdev = [0-9.]+/[0-9.]+/([0-9.]+)/")


@asynccontextmanager
async def running(ends: Ends, *, interval: float = 0.01) -> AsyncIterator[Application]:
    """A request each ``interval`` s within the context, until told to end.

    Raises:
        MachineError: ping is not there.
    """
    await check_program(ends.client, "ping", "iputils-ping")
    argv = [
        *("ping", "-6", "-n", "-i", f"{interval:g}"),
        *(["-I", ends.source] if ends.source is not None else []),
        ends.address,
    ]

    def judge(ended: Ended) -> Finding:
        return _judge(ended, interval)

    shell = ["bash", "-c", _UNTIL_TOLD, "bash", *argv]
    async with client(ends, _NAME, shell, judge, sign=b"icmp_seq=", feed=until_told) as application:
        yield application


def under_way(slowest_ms: float, interval: float) -> int:
    """How many requests may be without an answer when ping ends: those of the longest round trip."""
    return math.ceil(slowest_ms / 1000 / interval)


def answered(numbers: Iterable[bytes]) -> set[int]:
    """The requests that were answered, by their numbers: ping's own begin again after 65,535."""
    found: set[int] = set()
    last = 0
    for number in numbers:
        last += (int(number) - last + _HALF) % _NUMBERS - _HALF
        found.add(last)
    return found


def _judge(ended: Ended, interval: float) -> Finding:
    counts, slowest = _COUNTS.search(ended.output), _SLOWEST.search(ended.output)
    sent = int(counts[1]) if counts else 0
    numbers = answered(_ANSWER.findall(ended.output))
    last = max(numbers, default=0)
    missing = last - len(numbers)
    open_at_end = under_way(float(slowest[1]), interval) if slowest else 0
    return Finding(
        name=_NAME,
        expected="each echo request answered, but for what was under way at the end",
        measured=f"{len(numbers)} of {sent} answered, {missing} missing, {sent - last} under way at the end"
        + ("" if counts else f"; {ended.said}"),
        passed=sent > 0 and not missing and sent - last <= open_at_end,
        figures={"sent": sent, "answered": len(numbers), "missing": missing},
        start_ns=ended.start_ns,
        end_ns=ended.end_ns,
    )
