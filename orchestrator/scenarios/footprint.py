"""What a node's daemons occupy: SAs and memory, so that a long run can show that neither grows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from orchestrator.node import Node

PROGRAMS = {"charon": "charon", "nodes.agent": "agent", "nodes.esp": "ESP process"}
"""What a command line holds, and what the program is called here."""

_RESIDENT = """
for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; grep VmRSS: $p/status; done 2>/dev/null
"""
_KIB = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Footprint:
    """At one moment: the CHILD_SAs of a node, and the resident set of each program in octets."""

    child_sas: int
    memory: Mapping[str, int]


async def footprint(node: Node) -> Footprint:
    """The footprint of a tunnel's end.

    Raises:
        NodeError: the node does not answer.
    """
    sas = await node.tunnel_end.list_sas()
    said = await node.exec(["sh", "-c", _RESIDENT], check=False)
    return Footprint(
        child_sas=sum(len(sa.children) for sa in sas), memory=_resident(said.stdout.decode(errors="replace"))
    )


def _resident(text: str) -> dict[str, int]:
    """The resident set of each program that is known, from pairs of lines: command line, ``VmRSS:``."""
    found: dict[str, int] = {}
    command = ""
    for line in text.splitlines():
        if not line.startswith("VmRSS:"):
            command = line or command
            continue
        for mark, name in PROGRAMS.items():
            if mark in command and "VmRSS" not in command:
                found[name] = found.get(name, 0) + int(line.split()[1]) * _KIB
                break
        command = ""
    return found
