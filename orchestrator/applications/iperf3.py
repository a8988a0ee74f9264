"""iperf3, unmodified: a TCP stream at a rate, and the segments that it sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from orchestrator.applications.application import (
    Application,
    Ended,
    Ends,
    Finding,
    Server,
    check_program,
    client,
    listening,
    until_told,
)
from orchestrator.tasks import background

PORT = 5201
_NAME = "iperf3"
_UNTIL_TOLD = """
exec 3<&0
{ cat /dev/zero & read -r _ <&3; kill $!; } | exec "$@" --time 0 --file /dev/stdin
"""
"""iperf3 sends what it reads, and comes to an orderly end with it: when the standard input of this ends."""


@asynccontextmanager
async def running(
    ends: Ends,
    *,
    seconds: float | None = None,
    bits_per_second: int | None = None,
    congestion: str | None = None,
    port: int = PORT,
    name: str = _NAME,
    processors: tuple[int, int] | None = None,
) -> AsyncIterator[Application]:
    """Send for ``seconds`` within the context, or until told to end; as fast as it goes without a rate.

    ``processors``: those that the client and the server keep to.

    Raises:
        MachineError: iperf3 is not there.
        NodeError: the server does not listen.
    """
    for node in (ends.client, ends.server):
        await check_program(node, "iperf3", "iperf3")
    serve = ["iperf3", "--server", "--one-off", "--forceflush", "--port", str(port)]
    send = [
        *("iperf3", "--client", ends.address, "--port", str(port), "--json", "--interval", "1"),
        *("--bitrate", str(bits_per_second or 0)),
        *(["--congestion", congestion] if congestion is not None else []),
        *(["--bind", ends.source] if ends.source is not None else []),
        *(["--affinity", "{},{}".format(*processors)] if processors is not None else []),
    ]

    if seconds is None:
        argv, feed = ["bash", "-c", _UNTIL_TOLD, "bash", *send], until_told
    else:
        argv, feed = [*send, "--time", str(max(1, round(seconds)))], None

    def judge(ended: Ended) -> Finding:
        return _judge(ended, name)

    async with (
        listening(ends, name, serve, "Server listening") as server,
        client(ends, name, argv, judge, feed=feed) as application,
        background() as tasks,
    ):
        tasks.start_soon(_follow, application, server)
        yield application


async def _follow(application: Application, server: Server) -> None:
    """It is under way once the server has the connection that carries the data."""
    if await server.says(" connected to "):
        application.begin()


def _cpu_seconds(end: dict[str, Any]) -> float:
    """Processor time of both ends; the kernel's share of the transfer is in it."""
    used = end["cpu_utilization_percent"]
    percent = float(used["host_total"]) + float(used["remote_total"])
    return percent / 100 * float(end["sum_sent"]["seconds"])


def _judge(ended: Ended, name: str) -> Finding:
    said: dict[str, Any] = {}
    try:
        said = msgspec.json.decode(ended.output)
        sent, received = said["end"]["sum_sent"], said["end"]["sum_received"]
        figures: dict[str, Any] = {
            "retransmitted": int(sent["retransmits"]),
            "bits_per_second": float(received["bits_per_second"]),
            "octets": int(received["bytes"]),
            "congestion": str(said["end"].get("sender_tcp_congestion", "")),
            "cpu_seconds": _cpu_seconds(said["end"]),
        }
    except (msgspec.DecodeError, LookupError, TypeError):
        figures = {}
    error = said.get("error") if isinstance(said, dict) else None
    passed = ended.status == 0 and bool(figures) and error is None
    measured = (
        f"{figures['retransmitted']} retransmitted, {figures['bits_per_second'] / 1e6:.0f} Mbit/s "
        f"under {figures['congestion']}"
        if passed
        else f"iperf3 ended with status {ended.status}: {error or ended.said}"
    )
    return Finding(
        name=name,
        expected="it runs to its end",
        measured=measured,
        passed=passed,
        figures=figures,
        start_ns=ended.start_ns,
        end_ns=ended.end_ns,
    )
