"""Traffic that asks for a tunnel, where the data plane tells charon of it.

The kernel raises an acquire for a packet under a trap policy that has no SA (RFC 2367 §3.1.7, SADB_ACQUIRE).
charon's own data plane in user space does not, nor does the endpoint's: there the retry loop alone asks.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from orchestrator.testbed import Testbed

INTERVAL = 0.2
"""Seconds from one packet to the next."""


async def raises_acquires(bed: Testbed, node: str) -> bool:
    """Whether the data plane of a strongSwan peer does."""
    return (await bed.node(node).peer.status()).dataplane == "kernel"


@asynccontextmanager
async def asking(bed: Testbed, source: str, destination: str) -> AsyncIterator[None]:
    """Echo requests from one inner address to the other for the length of the context, answered or not."""
    near, far = bed.node(source).inner_address, bed.node(destination).inner_address
    ping = ["ping", "-6", "-n", "-q", "-i", str(INTERVAL), "-I", near, far]
    process = await anyio.open_process(
        bed.runtime.command(source, ping),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
            await process.wait()
