"""A node that scans for hosts and open ports, as an attacker on the link would."""

from __future__ import annotations

import msgspec

from nodes.scan import Found, Scan
from orchestrator.node import Node
from orchestrator.program import run_program
from orchestrator.runtimes.base import Runtime

__all__ = ["Found", "Scan", "scan"]


async def scan(runtime: Runtime, node: Node, order: Scan) -> dict[str, Found]:
    """What answers at the addresses, by address; also of those where nothing does.

    Raises:
        ParameterError: the order is out of range.
        NodeError: the scan did not get to its end.
    """
    argv = [*runtime.python, "-m", "nodes.scan", msgspec.json.encode(order).decode()]
    async with run_program(f"the scan from {node.name}", runtime.command(node.name, argv)) as program:
        done = await program.wait()
    return msgspec.convert(done.data["found"], dict[str, Found])
