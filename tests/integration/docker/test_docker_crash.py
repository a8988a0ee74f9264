"""What is left of a run in Docker when its owner is killed: nothing, by its watcher or the next command."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import anyio
import docker
import pytest
from docker_runs import left_of, processes, small_plan, until

from nodes import errors
from orchestrator.control import connect
from orchestrator.image import connect as connect_engine
from orchestrator.image import require
from orchestrator.runtimes.docker.runtime import DockerRuntime
from orchestrator.runtimes.plan_json import plan_to_json
from orchestrator.topology.plan import NodePlan

pytestmark = [pytest.mark.anyio, pytest.mark.docker]

OWNER = Path(__file__).with_name("docker_owner.py")
ROOT = Path(__file__).parents[3]
MOMENTS = ["starting", *(f"call {n}" for n in range(1, 11)), "up"]
"""What the owner of a run of three nodes says: ten calls, for four containers, the network and a question."""


@contextmanager
def owner_of(plan, *options, before=()):
    """A process that owns a run of ``plan``, as far as it has come."""
    command = [*before, sys.executable, str(OWNER), plan_to_json(plan), *options]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process, *words):
    """The first line of the process that is one of ``words``."""
    return next((line.strip() for line in process.stdout if line.strip() in words), None)


def watcher_of(run_id):
    [pid] = [
        pid for pid in processes(run_id) if b"docker.watcher" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return pid


@pytest.mark.parametrize("moment", MOMENTS)
async def test_nothing_is_left_of_an_owner_that_was_killed(moment):
    plan = small_plan("terminal", "host", "host")
    with owner_of(plan) as owner:
        assert said(owner, moment, "up") == moment
        owner.kill()
    assert until(lambda: left_of(plan.run_id), []) == []


async def test_nothing_is_left_of_an_owner_that_dies_while_it_takes_its_run_down():
    plan = small_plan("terminal", "host")
    with owner_of(plan) as owner:
        assert said(owner, "up")
        owner.stdin.close()
        assert said(owner, *(f"call {n}" for n in range(100)))
        owner.kill()
    assert until(lambda: left_of(plan.run_id), []) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_to_the_whole_terminal_does_not_end_the_watcher(number):
    plan = small_plan("host")
    with owner_of(plan) as owner:
        assert said(owner, "up")
        os.kill(watcher_of(plan.run_id), number)
        owner.kill()
    assert until(lambda: left_of(plan.run_id), []) == []


@pytest.mark.alone  # any other run would sweep too
async def test_the_next_command_removes_a_run_whose_owner_died_together_with_its_watcher():
    plan = small_plan("terminal", "host")
    with owner_of(plan) as owner:
        assert said(owner, "up")
        os.kill(watcher_of(plan.run_id), signal.SIGKILL)
        owner.kill()
    assert left_of(plan.run_id) != []
    assert plan.run_id in await DockerRuntime.sweep()
    assert left_of(plan.run_id) == []


@pytest.mark.alone  # any other run would sweep too
async def test_a_sweep_touches_neither_a_run_whose_owner_lives_nor_a_detached_one():
    kept, left_up = small_plan("host"), small_plan("host")
    with owner_of(kept) as owner, owner_of(left_up, "--detach") as other:
        assert said(owner, "up")
        assert said(other, "up")
        assert other.wait(30) == 0
        before = [left_of(plan.run_id) for plan in (kept, left_up)]
        assert await DockerRuntime.sweep() == []
        assert [left_of(plan.run_id) for plan in (kept, left_up)] == before
    await (await DockerRuntime.attach(left_up.run_id)).take_down()
    assert until(lambda: left_of(kept.run_id), []) == []


async def test_a_detached_run_is_found_used_and_taken_down_by_another_process(tmp_path):
    plan = small_plan("terminal", "host", log_dir=tmp_path)
    with owner_of(plan, "--detach") as owner:
        assert said(owner, "up")
        assert owner.wait(30) == 0
    assert not [
        pid for pid in processes(plan.run_id) if "watcher" in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    [record] = [run for run in await DockerRuntime.runs() if run.run_id == plan.run_id]
    content = require(connect_engine(), NodePlan.image)
    named = tuple(dataclasses.replace(node, image=content) for node in plan.nodes)
    assert record.plan == dataclasses.replace(plan, nodes=named)

    runtime = await DockerRuntime.attach(plan.run_id)
    async with connect("node-0", runtime.run_dir("node-0") / "control.sock", print) as client:
        assert await client.call("agent.ping", None, str) == "node-0"
    ping = runtime.command("node-1", ["ping", "-6", "-c", "1", "-W", "5", "node-0"])
    await anyio.run_process(ping)
    await runtime.take_down()
    assert left_of(plan.run_id) == []
    assert '"ready"' in (tmp_path / "node-0" / "agent.log").read_text()


async def test_a_run_that_is_not_up_cannot_be_attached_to():
    with pytest.raises(errors.UsageError, match="no run 00000000 is up"):
        await DockerRuntime.attach("00000000")


@pytest.mark.alone  # any other run would sweep too
async def test_the_rest_of_a_detached_run_that_docker_compose_took_down_is_swept_up():
    plan = small_plan("host")
    with owner_of(plan, "--detach") as owner:
        assert said(owner, "up")
        assert owner.wait(30) == 0
    client = docker.from_env()
    project = {"label": f"com.docker.compose.project={plan.project}"}
    for container in client.containers.list(filters=project):
        container.remove(force=True)
    for network in client.networks.list(filters=project):
        network.remove()
    client.close()
    assert left_of(plan.run_id) != []  # the bridge's place and the folder
    assert plan.run_id in await DockerRuntime.sweep()
    assert left_of(plan.run_id) == []


@pytest.fixture
def user_folder():
    """A folder of the unprivileged user's, and the command that makes a process that user's."""
    if os.getuid() != 0:
        pytest.fail("needs root, to become a user of the group docker")
    folder = Path(tempfile.mkdtemp(prefix="hopbed-test-"))
    uid = 65534
    os.chown(folder, uid, -1)
    group = Path("/var/run/docker.sock").stat().st_gid
    become = [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={uid}",
        f"--groups={group}",
        "env",
        "-u",
        "XDG_RUNTIME_DIR",
    ]
    yield folder, uid, become
    shutil.rmtree(folder)


async def test_a_member_of_the_group_docker_keeps_the_logs_and_none_of_what_root_left(user_folder):
    log_dir, uid, become = user_folder
    plan = small_plan("terminal", "host", log_dir=log_dir, owner=uid)
    with owner_of(plan, before=become) as owner:
        assert said(owner, "up")
        for place in ("/run/hopbed", "/run/hopbed/log"):
            make = f"mkdir -p {place}/deep/er && touch {place}/deep/er/file && chmod 700 {place}/deep"
            await anyio.run_process(["docker", "exec", f"{plan.project}-node-1", "sh", "-c", make])
        owner.stdin.close()
        assert owner.wait(30) == 0
    assert left_of(plan.run_id) == []
    assert not Path(f"/tmp/hopbed-{uid}").exists()
    kept = log_dir / "node-1" / "deep" / "er" / "file"
    assert {path.stat().st_uid for path in (kept, *kept.parents[:2])} == {uid}
