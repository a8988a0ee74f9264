"""``ip``, iproute2's, as a peer needs it: one command, and whether it did."""

from __future__ import annotations

import anyio

from nodes import errors


async def run_ip(*arguments: str, batch: str = "") -> str | None:
    """Run ``ip`` and return what it complains about, or None where it did as told.

    Args:
        arguments: the command line.
        batch: what ``-batch -`` reads.

    Raises:
        MachineError: iproute2 is not installed.
    """
    try:
        done = await anyio.run_process(["ip", *arguments], input=batch.encode(), check=False)
    except FileNotFoundError:
        raise errors.MachineError("iproute2 is missing. Install it: apt-get install iproute2") from None
    if done.returncode == 0:
        return None
    complaint = done.stderr.decode(errors="replace").strip().splitlines()
    return (
        complaint[0].removeprefix("RTNETLINK answers: ").removeprefix("Error: ") if complaint else "it failed"
    )
