"""Two terminals that share a secret, with live flows between them, for a test."""

from __future__ import annotations

import ipaddress
import signal
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from nodes.terminal import model
from orchestrator.flows import FlowSpec, Transport, run_flows
from orchestrator.testbed import Testbed

COMPOSE = Path(__file__).parents[2] / "compose.yaml"
A, B = ENDS = ("terminal-a", "terminal-b")
SECRET = "only the two of them know it"
HEARD = 30.0
"""Seconds after which an event that was due is missing."""
RATE = 500


@asynccontextmanager
async def terminals(*, runtime="namespaces", nodes=ENDS, paired=True, **arguments):
    """The testbed with both terminals, paired."""
    async with Testbed.from_compose(COMPOSE, runtime=runtime, nodes=nodes, **arguments) as bed:
        if paired:
            await pair(bed)
        yield bed


async def pair(bed, *, secrets=(SECRET, SECRET)):
    """Share the secret, at both ends at once."""
    async with anyio.create_task_group() as tasks:
        for name, partner, secret in ((A, B, secrets[0]), (B, A, secrets[1])):
            said = model.Pair(partner=partner, secret=secret, addresses=(bed.node(partner).address,))
            tasks.start_soon(bed.node(name).terminal.pair, said)


def spec(bed, name, source, destination, transport, **more):
    addresses = [ipaddress.IPv6Address(bed.node(node).address) for node in (source, destination)]
    return FlowSpec(
        name=name,
        source=source,
        destination=destination,
        source_address=addresses[0],
        destination_address=addresses[1],
        transport=transport,
        **{"rate": RATE, **more},
    )


@asynccontextmanager
async def traffic(bed, *, both=True):
    """UDP and TCP from A to B, UDP from B to A; the value has the results after the context."""
    specs = [spec(bed, "udp", A, B, Transport.UDP), spec(bed, "tcp", A, B, Transport.TCP, rate=200)]
    if both:
        specs.append(spec(bed, "udp-back", B, A, Transport.UDP))
    async with run_flows(bed.runtime, specs, publish=bed.events.publish) as flows:
        yield flows


def assert_whole(flows):
    """No flow lost anything, and the stream is what was sent."""
    for flow in flows.results:
        assert flow.cut_off is None, flow
        assert flow.continuity.sent > 0, flow
        assert flow.continuity.lost == 0, flow
        assert flow.identical in (True, None), flow


async def hops_done(bed, node=A, *, since=0):
    """Wait for a schedule's end."""
    await bed.events.wait_for("hops.done", node=node, since=since, timeout=60)


def said(bed, kind, node=None):
    """The events of a kind so far."""
    return [one for one in bed.events.past if one.kind == kind and node in (None, one.node)]


def outcomes(bed, node=A):
    """What became of services, by hop and service."""
    return [one.data["outcome"] for one in said(bed, "hop.service", node)]


async def daemon(bed, node):
    """The process id, in its node, of the hop daemon."""
    script = (
        "for p in /proc/[0-9]*; do "
        "tr '\\0' ' ' < $p/cmdline | grep -q -- '[-]m nodes.terminal ' && basename $p; done; true"
    )
    done = await bed.node(node).exec(["sh", "-c", script])
    (pid,) = [int(one) for one in done.stdout.split()]
    return pid


async def kill_daemon(bed, node):
    """End the hop daemon of a node at once, and return when its agent knows."""
    since = len(bed.events.past)
    await bed.node(node).exec(["kill", f"-{int(signal.SIGKILL)}", str(await daemon(bed, node))])
    await bed.events.wait_for("terminal.died", node=node, since=since, timeout=HEARD)
    return since


async def kill_agent(bed, node):
    """End the agent of a node at once, and return when its keeper knows."""
    since = len(bed.events.past)
    script = "for p in /proc/[0-9]*; do grep -qx agent $p/comm && kill -KILL ${p#/proc/}; done; true"
    await bed.node(node).exec(["sh", "-c", script], check=False)
    await bed.events.wait_for("agent.died", node=node, since=since, timeout=HEARD)
    return since


def other_prefixes(bed, count):
    """Prefixes of the run that no node is in."""
    run = ipaddress.IPv6Network((bed.node(A).address, 48), strict=False)
    return tuple(
        str(ipaddress.IPv6Network((int(run.network_address) + (0xE0 + at << 64), 64))) for at in range(count)
    )


def network(address):
    """The prefix of an address."""
    return str(ipaddress.IPv6Network((address, 64), strict=False))


async def line(process):
    """The next line that a program writes, without its end."""
    said = b""
    while not said.endswith(b"\n"):
        said += await process.stdout.receive(1)
    return said[:-1].decode()


async def sh(bed, node, command, **arguments):
    """The output of a shell's command line in a node."""
    done = await bed.node(node).exec(["sh", "-c", command], **arguments)
    return done.stdout.decode()
