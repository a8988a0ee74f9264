"""What the supervisor is told to build: plain values on its standard input, one JSON line."""

from __future__ import annotations

import msgspec


class NodeBlueprint(msgspec.Struct, frozen=True, kw_only=True):
    """One node. ``address`` is an IPv6 interface such as ``fd00::1/64``.

    ``argv`` is what the node runs, with ``environment`` added to the supervisor's; empty for a plain
    host. ``log_dir`` is a folder of the host that becomes the node's log folder.
    """

    name: str
    address: str
    argv: list[str]
    environment: dict[str, str]
    log_dir: str | None


class Blueprint(msgspec.Struct, frozen=True, kw_only=True):
    """A run. ``dad`` is a :class:`~orchestrator.topology.plan.Dad`; ``plan`` is kept for discovery."""

    run_id: str
    nodes: list[NodeBlueprint]
    dad: str
    bridge_log_dir: str | None
    plan: str
