"""ping, unmodified: a stream of ICMPv6 echo requests, and whether each was answered."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.applications.application import Application, Ended, Ends, Finding, check_program, client

_NAME = "ping"
_COUNTS = re.compile(rb"([0-9]+) packets transmitted, ([0-9]+) received")


@asynccontextmanager
async def running(ends: Ends, *, seconds: float, interval: float = 0.01) -> AsyncIterator[Application]:
    """A request each ``interval`` s for ``seconds`` within the context.

    Raises:
        MachineError: ping is not there.
    """
    await check_program(ends.client, "ping", "iputils-ping")
    count = max(1, round(seconds / interval))
    argv = [
        *("ping", "-6", "-n", "-q", "-i", f"{interval:g}", "-c", str(count), "-W", "1"),
        *(["-I", ends.source] if ends.source is not None else []),
        ends.address,
    ]

    def judge(ended: Ended) -> Finding:
        return _judge(ended, count)

    async with client(ends, _NAME, argv, judge) as application:
        yield application


def _judge(ended: Ended, count: int) -> Finding:
    counts = _COUNTS.search(ended.output)
    sent, answered = (int(counts[1]), int(counts[2])) if counts else (0, 0)
    return Finding(
        name=_NAME,
        expected=f"each of {count} echo requests answered",
        measured=f"{answered} of {sent} answered" + ("" if counts else f"; {ended.said}"),
        passed=sent == answered == count,
        figures={"sent": sent, "answered": answered},
        start_ns=ended.start_ns,
        end_ns=ended.end_ns,
    )
