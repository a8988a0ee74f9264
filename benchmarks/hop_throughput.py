"""Throughput of a TCP stream with hopping off, idle and active, in one run, interleaved.

*none*: two terminals without a pair, no table in their kernels. *idle*: paired, one hop has been made, so
that every packet of the stream is rewritten. *active*: a hop each period meanwhile. iperf3, unmodified, as
fast as it goes. On a machine that is busy with other things look at the best run, and at what a second of
processor time carries.

Between two namespaces the sender's processor does the kernel's work of both ends. With ``--processors 0,1``
each end has its own, as two machines have: its program runs there, and its interface's packets are received
there (receive packet steering; namespaces runtime as root).

    make benchmark-hop-throughput     or: python benchmarks/hop_throughput.py --seconds 3 --repeat 5
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import secrets
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio

from nodes import INTERFACE
from nodes.terminal import model
from orchestrator.applications import iperf3
from orchestrator.applications.application import Ends
from orchestrator.node import Node
from orchestrator.testbed import Testbed

NEAR, FAR = "terminal-a", "terminal-b"
SIDES = ("none", "idle", "active")
ORDERS = tuple(itertools.permutations(SIDES))
"""Each side is as often first, second and last."""
ALLOWED = 0.10


async def pair(bed: Testbed) -> None:
    secret = secrets.token_urlsafe(32)
    for one, other in ((NEAR, FAR), (FAR, NEAR)):
        partner = model.Pair(partner=other, secret=secret, addresses=(bed.node(other).address,))
        await bed.node(one).terminal.pair(partner)


@asynccontextmanager
async def hopping(bed: Testbed, side: str, period: float) -> AsyncIterator[None]:
    """What goes on beside the stream, which is under way already."""
    terminal = bed.node(NEAR).terminal
    if side == "idle":
        await terminal.hop()
    elif side == "active":
        await terminal.schedule(model.Schedule(kind="interface-id", period=period))
    yield
    if side == "active":
        await terminal.stop()


class Measured(NamedTuple):
    """One run: Gbit/s, Gbit a second of processor time, segments sent again, hops that were closed."""

    rate: float
    for_cpu: float
    again: int
    hops: int


async def keep_to(node: Node, processor: int) -> None:
    """Let the packets that come to a node be received by one processor."""
    steering = f"echo {1 << processor:x} > /sys/class/net/{INTERFACE}/queues/rx-0/rps_cpus"
    await node.exec(["sh", "-c", steering])


async def measure(side: str, asked: argparse.Namespace) -> Measured:
    """One run, on a testbed of its own."""
    async with Testbed.from_compose("compose.yaml", runtime=asked.runtime, nodes=(NEAR, FAR)) as bed:
        if side != "none":
            await pair(bed)
        near, far = bed.node(NEAR), bed.node(FAR)
        if asked.processors is not None:
            for node, processor in zip((near, far), asked.processors, strict=True):
                await keep_to(node, processor)
        ends = Ends(runtime=bed.runtime, client=near, server=far, address=far.address)
        async with iperf3.running(
            ends, seconds=asked.seconds, congestion="cubic", processors=asked.processors
        ) as stream:
            await stream.begun()
            async with hopping(bed, side, asked.period):
                found = await stream.wait()
        if not found.passed:
            sys.exit(f"{side}: {found.measured}")
        hops = sum(event.kind == "hop.closed" for event in bed.events.past)
        figures = found.figures
        return Measured(
            rate=figures["bits_per_second"] / 1e9,
            for_cpu=figures["octets"] * 8e-9 / figures["cpu_seconds"],
            again=figures["retransmitted"],
            hops=hops,
        )


async def benchmark(asked: argparse.Namespace) -> None:
    taken: dict[str, list[Measured]] = {side: [] for side in SIDES}
    for number in range(asked.repeat):
        for side in ORDERS[number % len(ORDERS)]:
            taken[side].append(await measure(side, asked))
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"Linux {platform.release()}, {asked.repeat} runs each, interleaved; load average {load}")
    heads = f"{'hopping':<8}  {'Gbit/s, median (to the best)':<28}  {'of none':<14}"
    print(f"{heads}  {'Gbit/CPU s':<10}  again  hops")
    base, best = (choose(one.rate for one in taken["none"]) for choose in (statistics.median, max))
    worst = 1.0
    for side, runs in taken.items():
        median, most = (choose(one.rate for one in runs) for choose in (statistics.median, max))
        worst = min(worst, median / base)
        shares = f"{median / base:.0%} (best {most / best:.0%})"
        for_cpu = statistics.median(one.for_cpu for one in runs)
        again, hops = (sum(getattr(one, name) for one in runs) for name in ("again", "hops"))
        rates = f"{median:.2f} (to {most:.2f})"
        print(f"{side:<8}  {rates:<28}  {shares:<14}  {for_cpu:<10.2f}  {again:>5}  {hops:>4}")
    if worst < 1 - ALLOWED:
        sys.exit(f"more than {ALLOWED:.0%} below none")


def two_processors(text: str) -> tuple[int, int]:
    """Two numbers of processors, as in ``0,1``."""
    client, server = map(int, text.split(","))
    return client, server


def main() -> None:
    """Measure, and print a table of medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--period", type=float, default=0.1, help="seconds from one hop to the next")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--processors", type=two_processors, help="the client's and the server's, as in 0,1")
    anyio.run(benchmark, parser.parse_args())


if __name__ == "__main__":
    main()
