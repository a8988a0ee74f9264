"""Takes away everything of a run, found by its label: for its owner, its watcher, and whoever comes later."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from docker import APIClient
from docker.errors import APIError, NotFound

from nodes import errors
from orchestrator.runtimes.docker import labels
from orchestrator.runtimes.docker.engine import SIDE_BY_SIDE, Engine, create_container, explain
from orchestrator.runtimes.docker.owner import Owner
from orchestrator.runtimes.docker.run_folder import OWNER_FILE, RunFolder

PATIENCE = 60.0
"""Seconds after which what is still there is called left behind."""
_PERIOD = 0.1
_MOUNTED = "/leftover"
_FIND = ("find", _MOUNTED, "-mindepth", "1")


@dataclasses.dataclass(frozen=True)
class Traces:
    """What a run leaves on the machine: what carries its label, its directory, and its logs.

    ``image`` is one that has a shell's tools, for what only root may remove or give back.
    """

    run_id: str
    owner: Owner
    run_dir: Path
    log_dir: Path | None
    image: str

    def to_json(self) -> str:
        """For another process."""
        fields = dataclasses.asdict(self) | {"owner": str(self.owner), "run_dir": str(self.run_dir)}
        return json.dumps(fields | {"log_dir": None if self.log_dir is None else str(self.log_dir)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What :meth:`to_json` wrote."""
        fields = json.loads(text)
        log_dir = fields["log_dir"]
        return cls(
            run_id=fields["run_id"],
            owner=Owner.parse(fields["owner"]),
            run_dir=Path(fields["run_dir"]),
            log_dir=None if log_dir is None else Path(log_dir),
            image=fields["image"],
        )


@dataclasses.dataclass(frozen=True)
class Found:
    """What carries a run's label: ids of containers and networks."""

    containers: list[str]
    networks: list[str]

    def __bool__(self) -> bool:
        return bool(self.containers or self.networks)

    def __str__(self) -> str:
        named = [f"container {id_[:12]}" for id_ in self.containers]
        return ", ".join(named + [f"network {id_[:12]}" for id_ in self.networks])


def remove(engine: Engine, traces: Traces, *, quiet: float = 0.0) -> None:
    """Remove a run: its containers, its network, its directory; give its logs to the run's user.

    Args:
        quiet: seconds to look out for more, after nothing was left: a creation may still be under way in the
            engine when the process that asked for it is dead already.

    Raises:
        CleanupError: something is left; the text names it.
        MachineError: no engine answers.
    """
    _remove_labelled(engine, traces.run_id)
    if traces.log_dir is not None and traces.owner.uid != 0 and _has_foreign(traces.log_dir):
        _as_root(engine, traces, traces.log_dir, "chown", "-R", "-h", str(traces.owner.uid), _MOUNTED)
    remove_folder(engine, traces)
    _remove_labelled(engine, traces.run_id, quiet)


def find(engine: Engine, run_id: str) -> Found:
    """Everything that carries the run's label."""
    selected = {"label": f"{labels.RUN}={run_id}"}
    with engine.client() as client:
        containers = [one["Id"] for one in client.containers(all=True, filters=selected)]
        networks = [one["Id"] for one in client.networks(filters=selected)]
    return Found(containers, networks)


def _remove_labelled(engine: Engine, run_id: str, quiet: float = 0.0) -> None:
    reasons: list[str] = []
    last_seen = time.monotonic()
    deadline = last_seen + PATIENCE
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        while True:
            found = find(engine, run_id)
            now = time.monotonic()
            if not found and now - last_seen >= quiet:
                return
            if found and now > deadline:
                why = f" ({'; '.join(dict.fromkeys(reasons))})" if reasons else ""
                raise errors.CleanupError(f"run {run_id}: still there: {found}{why}")
            if found:
                last_seen = now
                reasons = list(threads.map(lambda id_: _remove_container(engine, id_), found.containers))
                reasons += threads.map(lambda id_: _remove_network(engine, id_), found.networks)
                reasons = [reason for reason in reasons if reason]
                if not reasons:
                    continue
            time.sleep(_PERIOD)  # the engine has no event for "nothing is under way any more"


def _remove_container(engine: Engine, id_: str) -> str:
    return _tolerant(engine, lambda client: client.remove_container(id_, force=True, v=True))


def _remove_network(engine: Engine, id_: str) -> str:
    return _tolerant(engine, lambda client: client.remove_network(id_))


def _tolerant(engine: Engine, call: Callable[[APIClient], Any]) -> str:
    """Make a call; its subject may be gone already. Returns why it failed, or nothing."""
    with engine.client() as client:
        try:
            call(client)
        except NotFound:
            pass
        except APIError as error:
            return explain(error)
    return ""


def remove_folder(engine: Engine, traces: Traces) -> None:
    """Remove a run's directory, and what root in its containers has put there.

    Raises:
        CleanupError: it is still there.
    """
    folder = RunFolder(traces.run_dir)
    if folder.path.name != traces.run_id or folder.owner is None:
        return  # not made by us, whatever a label says
    if not folder.remove():
        _as_root(engine, traces, folder.path, *_FIND, "!", "-name", OWNER_FILE, "-delete")
        if not folder.remove():
            raise errors.CleanupError(f"run {traces.run_id}: still there: {folder.path}")


def _has_foreign(folder: Path) -> bool:
    """Whether anything below ``folder`` belongs to another user than the caller."""
    return any(status.st_uid != os.getuid() for status in _below(folder))


def _below(folder: Path) -> Iterable[os.stat_result]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                yield os.lstat(f"{parent}/{name}")


def _as_root(engine: Engine, traces: Traces, folder: Path, *command: str) -> None:
    """Run ``command`` in a container that has ``folder`` at :data:`_MOUNTED` and nothing else of the machine.

    Raises:
        CleanupError: it failed.
    """
    config = {
        "Image": traces.image,
        "Entrypoint": list(command),
        "Labels": labels.of_run(traces.run_id, traces.owner, traces.run_dir),
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [{"Type": "bind", "Source": str(folder), "Target": _MOUNTED}],
        },
    }
    with engine.client() as client:
        try:
            id_ = create_container(client, config)
            try:
                client.start(id_)
                status = client.wait(id_)["StatusCode"]
            finally:
                client.remove_container(id_, force=True, v=True)
        except APIError as error:
            raise errors.CleanupError(f"run {traces.run_id}: {folder}: {explain(error)}") from error
    if status:
        raise errors.CleanupError(f"run {traces.run_id}: {folder}: {' '.join(command)}: status {status}")
