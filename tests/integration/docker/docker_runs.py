"""Plans for the docker runtime's tests, and what the machine still has of a run."""

from __future__ import annotations

import ipaddress
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker

from orchestrator.runtimes.docker.labels import RUN
from orchestrator.runtimes.docker.run_folder import parents
from orchestrator.topology.addressing import random_site
from orchestrator.topology.plan import NodePlan, RoleName, RunPlan

COMPOSE_FILE = Path(__file__).parents[3] / "compose.yaml"
DEADLINE = 30.0
"""Seconds until which something must have come about; on a busy machine, too."""


def small_plan(*roles: str, node: type[NodePlan] = NodePlan, **changes: Any) -> RunPlan:
    """A plan with a node for each role, called node-0 and so on, on a prefix of its own."""
    network = ipaddress.IPv6Network((random_site().network_address, 64))
    nodes = tuple(
        node(
            name=f"node-{i}",
            role=RoleName(role),
            address=ipaddress.IPv6Interface((network[i + 1], 64)),
            cap_add=("NET_ADMIN", "NET_RAW"),
            devices=("/dev/net/tun",) if role == RoleName.IKE else (),
        )
        for i, role in enumerate(roles)
    )
    values: dict[str, Any] = {
        "run_id": secrets.token_hex(4),
        "network": network,
        "nodes": nodes,
        "owner": os.getuid(),
        "log_dir": None,
        "compose_file": COMPOSE_FILE,
    }
    return RunPlan(**values | changes)


def left_of(run_id: str) -> list[str]:
    """What the engine, the file system and the process table still have of a run."""
    selected = {"label": f"{RUN}={run_id}"}
    client = docker.APIClient(version="auto")
    try:
        left = [f"container {one['Names']}" for one in client.containers(all=True, filters=selected)]
        left += [f"network {one['Name']}" for one in client.networks(filters=selected)]
    finally:
        client.close()
    left += [str(parent / run_id) for parent in parents() if (parent / run_id).exists()]
    return left + [f"process {pid}" for pid in processes(run_id)]


def processes(mark: str) -> list[int]:
    """The processes that have ``mark`` on their command line, in whatever container; not this one."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if mark.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def until(what: Callable[[], Any], wanted: Any) -> Any:
    """The value of ``what()`` once it is ``wanted``, or the last one before the deadline."""
    deadline = time.monotonic() + DEADLINE
    while (value := what()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return value
