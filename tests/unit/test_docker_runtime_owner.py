"""Who answers for a run in Docker, and which runs nobody answers for."""

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.runtimes.docker import labels, run_folder
from orchestrator.runtimes.docker.discovery import runs_from
from orchestrator.runtimes.docker.owner import Owner, state_and_start
from orchestrator.runtimes.docker.run_folder import RunFolder

ME = Owner.this_process()


@pytest.fixture
def dead():
    """The owner that a process was which has ended."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        _, started = state_and_start(Path(f"/proc/{process.pid}/stat").read_text())
        process.kill()
    return dataclasses.replace(ME, pid=process.pid, started=started)


def test_owner_survives_a_label():
    assert Owner.parse(str(ME)) == ME


@pytest.mark.parametrize("text", ["", "1:2:3", "a:b:c:d:e", "1:2:3:4:5:6"])
def test_what_is_no_owner_is_a_value_error(text):
    with pytest.raises(ValueError, match="unpack|invalid literal"):
        Owner.parse(text)


def test_a_living_process_is_not_gone():
    assert not ME.is_gone()


def test_an_ended_process_is_gone(dead):
    assert dead.is_gone()


def test_a_process_that_waits_to_be_reaped_is_gone():
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        state, started = state_and_start(Path(f"/proc/{process.pid}/stat").read_text())
        assert state == "Z"
        assert dataclasses.replace(ME, pid=process.pid, started=started).is_gone()


def test_another_process_with_the_same_number_is_not_the_owner():
    assert dataclasses.replace(ME, started=ME.started - 1).is_gone()


def test_everything_of_an_earlier_boot_is_gone():
    assert dataclasses.replace(ME, boot_id="another").is_gone()


def test_a_process_of_another_pid_namespace_is_not_judged(dead):
    assert not dataclasses.replace(dead, pid_namespace=1).is_gone()


def test_a_process_name_may_hold_what_separates_the_fields():
    fields = " ".join(str(number) for number in range(4, 52))
    assert state_and_start(f"7 (a) b (c)) S {fields}") == ("S", 22)


def entry(owner, folder, run_id="0123abcd", **more):
    carried = {labels.RUN: run_id, labels.OWNER: str(owner), labels.RUN_DIR: str(folder)}
    return {"Id": "f" * 64, "Image": "an-image", "Labels": carried | more}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "0123abcd"
    path.mkdir()
    return RunFolder(path)


def abandoned(containers=(), networks=()):
    [run] = runs_from(containers, networks)
    return run.is_abandoned


def test_a_run_whose_owner_lives_is_not_abandoned(folder):
    assert not abandoned(containers=[entry(ME, folder.path)])


def test_a_run_whose_owner_is_dead_is_abandoned(folder, dead):
    assert abandoned(networks=[entry(dead, folder.path)])


def test_a_detached_run_is_not_abandoned_as_long_as_its_network_is_there(folder, dead):
    folder.mark_detached()
    assert not abandoned(networks=[entry(dead, folder.path)])
    assert abandoned(containers=[entry(dead, folder.path)])


def test_a_detached_run_does_not_outlive_a_boot(folder, dead):
    folder.mark_detached()
    assert abandoned(networks=[entry(dataclasses.replace(dead, boot_id="another"), folder.path)])


def test_runs_of_other_users_are_not_ours(folder):
    other = dataclasses.replace(ME, uid=ME.uid + 1)
    assert runs_from([entry(other, folder.path)], []) == []


def test_what_is_labelled_otherwise_is_not_a_run():
    assert runs_from([{"Id": "1", "Image": "i", "Labels": {labels.RUN: "0123abcd"}}], []) == []
    assert runs_from([entry("no owner", "/tmp")], []) == []


def test_a_plan_of_another_version_is_no_plan(folder):
    [run] = runs_from([], [entry(ME, folder.path, **{labels.PLAN: '{"from": "the future"}'})])
    assert run.plan is None


def test_a_run_is_told_of_once_with_the_image_of_its_containers(folder):
    [run] = runs_from([entry(ME, folder.path)] * 2, [entry(ME, folder.path)])
    assert (run.image, run.network_id) == ("an-image", "f" * 64)


def test_run_directories_of_this_user_stand_in_folders_of_this_user(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert run_folder.parents()[0] == tmp_path / "hopbed"
    tmp_path.chmod(0o777)
    assert tmp_path / "hopbed" not in run_folder.parents()
