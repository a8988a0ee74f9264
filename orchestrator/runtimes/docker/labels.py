"""The labels of what a run makes: Compose's, so that its commands work on the run, and Hopbed's own.

Compose finds the containers of a project by ``project``, ``oneoff`` and the presence of ``config-hash``, and
its networks by ``project`` and ``network`` (docker/compose, ``pkg/api/labels.go`` and
``pkg/compose/containers.go``). Hopbed finds a run by :data:`RUN` alone and never touches what does not
carry it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.runtimes.docker.owner import Owner
from orchestrator.runtimes.plan_json import plan_to_json
from orchestrator.topology.plan import NodePlan, RunPlan

RUN = "io.hopbed.run"
"""The run's id."""
OWNER = "io.hopbed.owner"
"""The process that answers for the run: an :class:`~orchestrator.runtimes.docker.owner.Owner`."""
RUN_DIR = "io.hopbed.run-dir"
"""The run directory on the host."""
NODE = "io.hopbed.node"
"""A container's place: a node's name, or that of the bridge."""
PLAN = "io.hopbed.plan"
"""The run's plan (:mod:`orchestrator.runtimes.plan_json`), on the network alone."""

COMPOSE_NETWORK = "bridge"
"""The network's name in the compose file, as Compose tells it apart within a project."""
_COMPOSE = "com.docker.compose"


def of_run(run_id: str, owner: Owner, run_dir: Path) -> dict[str, str]:
    """What everything of a run carries."""
    return {RUN: run_id, OWNER: str(owner), RUN_DIR: str(run_dir)}


def of_network(plan: RunPlan) -> dict[str, str]:
    """What the network carries besides."""
    return {PLAN: plan_to_json(plan), **_project(plan), f"{_COMPOSE}.network": COMPOSE_NETWORK}


def of_service(plan: RunPlan, node: NodePlan, config: Mapping[str, Any]) -> dict[str, str]:
    """What a node's container carries besides; ``config`` is what its hash is made of."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return {
        NODE: node.name,
        **_project(plan),
        f"{_COMPOSE}.project.config_files": str(plan.compose_file),
        f"{_COMPOSE}.project.working_dir": str(plan.compose_file.parent),
        f"{_COMPOSE}.service": node.name,
        f"{_COMPOSE}.container-number": "1",
        f"{_COMPOSE}.oneoff": "False",
        f"{_COMPOSE}.config-hash": digest,
    }


def _project(plan: RunPlan) -> dict[str, str]:
    return {f"{_COMPOSE}.project": plan.project, f"{_COMPOSE}.version": "2"}
