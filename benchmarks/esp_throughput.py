"""What ESP in user space carries: ours beside strongSwan's kernel-libipsec, in one run, interleaved.

Two tunnels stand in one testbed, on one bridge: between two endpoints of ours and between two peers. iperf3
goes through each in turn: TCP, then UDP of 1,200 octets at each rate that is asked for. A figure is the
median over the rounds (least to most). Both use the same cipher, IPv6 in ESP in UDP, an MTU of 1400 inside.
CPU is what the daemons of both ends used, all their processes and threads: of all figures the one that other
load on the machine disturbs least. UDP packets that iperf3 was too slow to read, and its own socket dropped,
were carried: the kernel counts them apart. A rate is over the time that the run took until iperf3 had its
results, which come by the same tunnel: what a daemon puts into a queue takes its time to come out again.

    make benchmark-esp          or: python benchmarks/esp_throughput.py --rounds 3 --seconds 5
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import statistics
import time
from pathlib import Path

import anyio

from orchestrator.node import Node
from orchestrator.testbed import Testbed
from orchestrator.topology.plan import Dataplane, RoleName
from orchestrator.tunnel import CONNECTION, Settings, at_endpoint, credentials, tunnel

COMPOSE = Path(__file__).parents[1] / "compose.yaml"
PAIRS = {"hopbed": ("endpoint", "endpoint-b"), "strongSwan": ("peer-a", "peer-b")}
OCTETS = 1200
IKE_PORTS = (":01F4", ":1194")
DAEMONS = ("python", "charon", "ld-linux")
CIPHERS = {"gcm": "aes128gcm16", "cbc": "aes128-sha256"}


@dataclasses.dataclass
class Figures:
    """What the rounds measured of one contender."""

    rows: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def add(self, row: str, figure: float) -> None:
        """Add what one round measured."""
        self.rows.setdefault(row, []).append(figure)


async def bring_up_tunnel(bed: Testbed, ends: tuple[str, str], cipher: str) -> None:
    """Have the nodes negotiate, and see that something passes."""
    settings = Settings(version=1, encap=True, esp_proposals=(CIPHERS[cipher],))
    both = tunnel(bed.plan, *ends, credentials(bed.plan, ends, "psk"), settings)
    for name, connection in ((ends[1], both.responder), (ends[0], both.initiator)):
        node = bed.node(name)
        if node.plan.role is RoleName.IKE:
            await node.endpoint.load(at_endpoint(connection))
        else:
            await node.peer.load(connection)
    await bed.node(ends[0]).tunnel_end.initiate(CONNECTION)
    first, second = (bed.node(name) for name in ends)
    await first.exec(["ping", "-6", "-c", "3", "-i", "0.1", "-I", first.inner_address, second.inner_address])


async def iperf3(client: Node, server: Node, *arguments: str) -> dict[str, dict[str, float]]:
    """One run; the sums of iperf3's report."""
    async with anyio.create_task_group() as tasks:
        # --one-off: it ends with its client
        tasks.start_soon(server.exec, ["iperf3", "--server", "--one-off", "--bind", server.inner_address])
        await _until_listening(server)
        address = ["--client", server.inner_address, "--bind", client.inner_address]
        done = await client.exec(["iperf3", "--json", *address, *arguments])
    report: dict[str, dict[str, float]] = json.loads(done.stdout)["end"]
    return report


async def _until_listening(server: Node) -> None:
    with anyio.fail_after(10):
        while True:
            listed = await server.exec(["ss", "-Hltn", "sport = :5201"])
            if listed.stdout.strip():
                return


async def cpu_seconds(*nodes: Node) -> float:
    """Seconds of CPU that the daemons of these nodes have used."""
    ticks = 0
    for node in nodes:
        listed = await node.exec(["sh", "-c", "cat /proc/[0-9]*/stat"], check=False)
        for line in listed.stdout.decode().splitlines():
            name, fields = line[line.index("(") + 1 : line.rindex(")")], line[line.rindex(")") + 2 :].split()
            if name.startswith(DAEMONS):
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def left_unread(server: Node) -> int:
    """Datagrams that the applications' sockets of a node dropped, for they were full; not the daemon's."""
    counted = (await server.exec(["nstat", "-asz", "Udp6RcvbufErrors"])).stdout.split()
    of_daemon = (await server.exec(["cat", "/proc/net/udp6"])).stdout.decode().splitlines()[1:]
    return int(counted[-2]) - sum(
        int(line.split()[-1]) for line in of_daemon if line.split()[1].endswith(IKE_PORTS)
    )


async def one_round(bed: Testbed, figures: dict[str, Figures], seconds: int, rates: list[int]) -> None:
    """Measure each contender once."""
    for name, ends in PAIRS.items():
        client, server = (bed.node(one) for one in ends)
        taken = figures[name]
        used = -await cpu_seconds(client, server)
        report = await iperf3(client, server, "--time", str(seconds))
        used += await cpu_seconds(client, server)
        received = report["sum_received"]
        taken.add("TCP: Mbit/s", received["bits_per_second"] / 1e6)
        taken.add("TCP: CPU, ms per Mbyte", used * 1e3 / (received["bytes"] / 1e6))
        for rate in rates:
            limit = ["--udp", "--length", str(OCTETS), "--bitrate", str(rate * OCTETS * 8)]
            used, unread = -await cpu_seconds(client, server), -await left_unread(server)
            began = time.monotonic()
            report = await iperf3(client, server, "--time", str(seconds), *limit)
            took = time.monotonic() - began
            used += await cpu_seconds(client, server)
            unread += await left_unread(server)
            sent = report["sum"]["packets"]
            carried = sent - report["sum"]["lost_packets"] + unread
            row = f"UDP, {rate:,} packets/s: "
            taken.add(f"{row}carried, packets/s", carried / took)
            taken.add(f"{row}took, s, of {seconds}", took)
            taken.add(f"{row}lost on the way, %", 100 * (1 - carried / sent))
            taken.add(f"{row}CPU, us per packet", used * 1e6 / max(carried, 1))


def _spread(figures: list[float]) -> str:
    median, least, most = statistics.median(figures), min(figures), max(figures)
    return f"{median:,.{0 if median >= 100 else 1}f} ({least:,.0f} to {most:,.0f})"


def table(figures: dict[str, Figures]) -> str:
    """The figures side by side."""
    measured = next(iter(figures.values())).rows
    rows = [[row, *(_spread(taken.rows[row]) for taken in figures.values())] for row in measured]
    rows.insert(0, ["", *figures])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


async def measure(asked: argparse.Namespace) -> None:
    """Measure, and print the table."""
    names = tuple(name for ends in PAIRS.values() for name in ends)
    figures = {name: Figures() for name in PAIRS}
    bed_up = Testbed.from_compose(COMPOSE, runtime=asked.runtime, nodes=names, dataplane=Dataplane.USERSPACE)
    async with bed_up as bed:
        for ends in PAIRS.values():
            await bring_up_tunnel(bed, ends, asked.cipher)
        for _ in range(asked.rounds):
            await one_round(bed, figures, asked.seconds, asked.rates)
    print(
        f"Linux {platform.release()}, {asked.rounds} rounds of {asked.seconds} s, interleaved,"
        f" {CIPHERS[asked.cipher]}; median (least to most)"
    )
    print(table(figures))


def main() -> None:
    """Parse the command line, and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rates", type=int, nargs="*", default=[20_000, 40_000, 80_000], help="packets/s")
    parser.add_argument("--cipher", choices=CIPHERS, default="gcm")
    parser.add_argument("--runtime", default="namespaces", choices=["namespaces", "docker"])
    with contextlib.suppress(KeyboardInterrupt):
        anyio.run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
