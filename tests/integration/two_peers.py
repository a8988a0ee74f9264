"""The two peers of the default testbed for a test: up, with a tunnel loaded at both ends."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.testbed import Testbed
from orchestrator.tunnel import Settings, credentials, tunnel

COMPOSE = Path(__file__).parents[2] / "compose.yaml"
A, B = ENDS = ("peer-a", "peer-b")
HEARD = 30.0
"""Seconds after which an event that was due is missing."""
DEAF = b"""
table inet deaf {
    chain input {
        type filter hook input priority 0
        udp dport { 500, 4500 } drop
    }
}
"""


@asynccontextmanager
async def peers(**arguments):
    async with Testbed.from_compose(COMPOSE, runtime="namespaces", nodes=ENDS, **arguments) as bed:
        yield bed


async def load(bed, auth="psk", **settings):
    """Load a tunnel at both ends."""
    ends = tunnel(bed.plan, A, B, credentials(bed.plan, ENDS, auth), Settings(**settings))
    await bed.node(B).peer.load(ends.responder)
    await bed.node(A).peer.load(ends.initiator)
    return ends


async def ping(bed, source, target):
    """Whether an echo request from one inner address reaches the other and is answered."""
    there, back = bed.node(target).inner_address, bed.node(source).inner_address
    command = ["ping", "-6", "-n", "-c", "3", "-i", "0.05", "-W", "5", "-I", back, there]
    return (await bed.node(source).exec(command, check=False)).returncode == 0


async def silence(bed, end):
    """Let a node hear no IKE."""
    await bed.node(end).exec(["nft", "-f", "-"], stdin=DEAF)
