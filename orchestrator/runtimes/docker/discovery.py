"""Finds the runs that the engine has, by their labels, and removes those that nobody answers for."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nodes import errors
from orchestrator.runtimes.docker import labels
from orchestrator.runtimes.docker.engine import Engine
from orchestrator.runtimes.docker.owner import Owner
from orchestrator.runtimes.docker.removal import Traces, remove
from orchestrator.runtimes.docker.run_folder import RunFolder, all_run_folders
from orchestrator.runtimes.plan_json import plan_from_json
from orchestrator.topology.plan import NodePlan, RunPlan

_ANY_IMAGE = NodePlan.image


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledRun:
    """A run as its labels tell of it.

    Attributes:
        plan: None where the network is gone, or was made by another version of Hopbed.
        network_id: None where the network is gone.
    """

    run_id: str
    owner: Owner
    folder: RunFolder
    image: str
    plan: RunPlan | None
    network_id: str | None

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody answers for it: its owner is dead, and it is not (or no longer) up on its own."""
        is_up_alone = self.folder.is_detached and self.network_id is not None and self.owner.is_of_this_boot
        return self.owner.is_gone() and not is_up_alone

    @property
    def traces(self) -> Traces:
        """What is to remove of it."""
        log_dir = None if self.plan is None else self.plan.log_dir
        return Traces(self.run_id, self.owner, self.folder.path, log_dir, self.image)


def labelled_runs(engine: Engine) -> list[LabelledRun]:
    """The runs of this user that the engine has anything of."""
    with engine.client() as client:
        containers = client.containers(all=True, filters={"label": labels.RUN})
        networks = client.networks(filters={"label": labels.RUN})
    return runs_from(containers, networks)


def runs_from(
    containers: Iterable[Mapping[str, Any]], networks: Iterable[Mapping[str, Any]]
) -> list[LabelledRun]:
    """The runs of this user in the engine's lists of what is labelled."""
    network_of = {network["Labels"][labels.RUN]: network for network in networks}
    labels_of = {run_id: network["Labels"] for run_id, network in network_of.items()}
    image_of: dict[str, str] = {}
    for container in containers:
        run_id = container["Labels"][labels.RUN]
        labels_of.setdefault(run_id, container["Labels"])
        image_of[run_id] = container["Image"]
    found = []
    for run_id, of_run in labels_of.items():
        try:
            owner = Owner.parse(of_run[labels.OWNER])
            folder = RunFolder(Path(of_run[labels.RUN_DIR]))
        except (KeyError, ValueError):
            continue  # not labelled by this program
        if owner.uid != os.getuid():
            continue
        network = network_of.get(run_id)
        plan = None
        with contextlib.suppress(KeyError, errors.ProtocolError):
            plan = plan_from_json(of_run[labels.PLAN])
        found.append(
            LabelledRun(
                run_id=run_id,
                owner=owner,
                folder=folder,
                image=image_of.get(run_id, _ANY_IMAGE),
                plan=plan,
                network_id=None if network is None else network["Id"],
            )
        )
    return found


def sweep(engine: Engine) -> list[str]:
    """Remove the runs of this user that nobody answers for; returns their ids.

    Raises:
        CleanupError: something of one could not be removed.
        MachineError: no engine answers.
    """
    # before the engine is asked: a run that comes up and is left up meanwhile is not in its answer
    folders = {
        folder.path.name: Traces(folder.path.name, folder.owner, folder.path, None, _ANY_IMAGE)
        for folder in all_run_folders()
        if folder.is_of(engine.host) and folder.owner is not None and folder.owner.is_gone()
    }
    runs = labelled_runs(engine)
    abandoned = [run.traces for run in runs if run.is_abandoned]
    known = {run.run_id for run in runs}
    abandoned += [traces for run_id, traces in folders.items() if run_id not in known]
    for traces in abandoned:
        remove(engine, traces)
    return [traces.run_id for traces in abandoned]
