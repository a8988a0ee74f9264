"""The directory of a run in Docker, and what is taken from the host with it."""

import dataclasses
import ipaddress
import os
import secrets
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nodes import errors
from orchestrator.runtimes.docker.owner import Owner
from orchestrator.runtimes.docker.removal import Traces
from orchestrator.runtimes.docker.run_folder import OWNER_FILE, RunFolder, all_run_folders
from orchestrator.topology.plan import NodePlan, RoleName, RunPlan

OWNER = Owner.this_process()
HOST = "unix:///var/run/docker.sock"


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch):
    """A short path, as users have it: pytest's own leaves no room for a socket's name in parallel runs."""
    with tempfile.TemporaryDirectory(prefix="r") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name)


@pytest.fixture
def plan():
    node = NodePlan(name="node", role=RoleName.HOST, address=ipaddress.IPv6Interface("fd00::a/64"))
    return RunPlan(
        run_id=secrets.token_hex(4),
        network=ipaddress.IPv6Network("fd00::/64"),
        nodes=(node,),
        owner=os.getuid(),
        log_dir=None,
        compose_file=Path("compose.yaml"),
    )


def test_every_place_has_a_folder_of_its_own_that_only_the_user_may_enter(plan, runtime_dir):
    folder = RunFolder.of(plan)
    folder.make(plan, OWNER, HOST)
    assert folder.path == runtime_dir / "hopbed" / plan.run_id
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in folder.path.iterdir() if path.is_dir()) == ["bridge", "node"]


def test_logs_stand_in_the_run_directory_or_where_the_plan_says(plan, tmp_path):
    folder = RunFolder.of(plan)
    assert folder.log(plan, "node") == folder.path / "node" / "log"
    elsewhere = dataclasses.replace(plan, log_dir=tmp_path)
    folder.make(elsewhere, OWNER, HOST)
    assert folder.log(elsewhere, "node") == tmp_path / "node"
    assert (tmp_path / "node").is_dir()


def test_a_socket_path_that_would_be_too_long_goes_to_a_shorter_place(plan, runtime_dir):
    name = "n" * (107 - len(f"{runtime_dir}/hopbed/{plan.run_id}//control.sock") + 1)
    [node] = plan.nodes
    folder = RunFolder.of(dataclasses.replace(plan, nodes=(dataclasses.replace(node, name=name),)))
    assert not folder.path.is_relative_to(runtime_dir)


def test_a_name_that_is_too_long_for_any_place_is_a_usage_error(plan):
    [node] = plan.nodes
    with pytest.raises(errors.UsageError, match="too long for the path of a Unix socket"):
        RunFolder.of(dataclasses.replace(plan, nodes=(dataclasses.replace(node, name="n" * 100),)))


def test_a_second_run_of_the_same_id_is_a_machine_error(plan):
    RunFolder.of(plan).make(plan, OWNER, HOST)
    with pytest.raises(errors.MachineError, match=plan.run_id):
        RunFolder.of(plan).make(plan, OWNER, HOST)


def test_run_directories_tell_who_made_them(plan):
    RunFolder.of(plan).make(plan, OWNER, HOST)
    [found] = [folder for folder in all_run_folders() if folder.path.name == plan.run_id]
    assert found.owner == OWNER


def test_a_run_is_its_own_engines_or_anybodys_once_that_engine_is_gone(plan, runtime_dir):
    folder = RunFolder.of(plan)
    own = runtime_dir / "docker.sock"
    own.touch()
    folder.make(plan, OWNER, f"unix://{own}")
    assert folder.is_of(f"unix://{own}")
    assert not folder.is_of("unix:///another.sock")
    own.unlink()
    assert folder.is_of("unix:///another.sock")
    (folder.path / OWNER_FILE).unlink()
    assert not folder.is_of("unix:///another.sock")


def test_a_removed_run_directory_takes_the_folder_above_with_the_last(plan, runtime_dir):
    folder = RunFolder.of(plan)
    folder.make(plan, OWNER, HOST)
    folder.mark_detached()
    assert folder.remove()
    assert list(runtime_dir.iterdir()) == []


def test_runs_that_come_and_go_at_the_same_time_do_not_take_the_folder_above_from_each_other(plan):
    def come_and_go(run_id):
        own = RunFolder(RunFolder.of(plan).path.with_name(run_id))
        for _ in range(300):
            own.make(plan, OWNER, HOST)
            assert own.remove()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, "abcd"))


def test_a_folder_above_that_is_open_to_others_is_not_used(plan, runtime_dir):
    above = runtime_dir / "hopbed"
    above.mkdir()
    above.chmod(0o777)
    with pytest.raises(errors.MachineError, match=f"{above} is open to others: remove it"):
        RunFolder.of(plan).make(plan, OWNER, HOST)
    assert list(above.iterdir()) == []


def test_detachment_is_seen_by_every_process_that_knows_the_directory(plan):
    folder = RunFolder.of(plan)
    folder.make(plan, OWNER, HOST)
    assert not RunFolder(folder.path).is_detached
    folder.mark_detached()
    assert RunFolder(folder.path).is_detached


@pytest.mark.parametrize("log_dir", [None, Path("/evidence/nodes")])
def test_traces_reach_the_watcher_as_they_are(log_dir):
    traces = Traces("0123abcd", OWNER, Path("/run/user/0/hopbed/0123abcd"), log_dir, "an-image")
    assert Traces.from_json(traces.to_json()) == traces
