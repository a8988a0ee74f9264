"""A peer's agent and its charon: how they start, what they say of themselves, and how they end."""

import contextlib
import json
import re
import subprocess
import sys
from contextlib import asynccontextmanager

import anyio
import pytest
from two_peers import COMPOSE, HEARD, A, peers

from nodes import errors
from nodes.agent import CONTROL_SOCKET
from nodes.peer import installation
from nodes.peer.config import KEY_LOG
from nodes.program import FAILED, READY
from orchestrator.control import connect
from orchestrator.doctor import probes
from orchestrator.events import EventStream
from orchestrator.peer import Peer
from orchestrator.testbed import Testbed

pytestmark = pytest.mark.anyio

UNTIL_GONE = "import os, select, sys; select.select([os.pidfd_open(int(sys.argv[1]))], [], [])"


@asynccontextmanager
async def host():
    """A node with no role, for agents that a test starts by itself."""
    async with Testbed.from_compose(COMPOSE, runtime="namespaces", nodes=("host",)) as bed:
        yield bed


@asynccontextmanager
async def agent(bed, *before, **options):
    """A peer's agent in the plain host, started by ``before``; the value is it and the first that it says."""
    settings = ["HOPBED_NODE=host", f"HOPBED_OPTIONS={json.dumps(options)}"]
    argv = ["env", *settings, *before, sys.executable, "-m", "nodes.agent", "peer"]
    process = await anyio.open_process(bed.runtime.command("host", argv), stderr=subprocess.DEVNULL)
    try:
        yield process, json.loads(await process.stdout.receive())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def hiding(folder):
    """A prefix to a command line that lets it find nothing in ``folder``."""
    return ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {folder} && exec "$@"', "sh")


@pytest.mark.stock_kernel("kernel ESP")
async def test_status_tells_what_runs_and_why():
    async with peers() as bed:
        status = await bed.node(A).peer.status()
        assert status.version[0] in "56"
        assert status.dataplane == ("kernel" if (await probes.kernel_esp()).present else "userspace")
        assert status.dataplane_reason
        assert status.inner_interface in ("inner", "lo")
        assert status.inner_reason
        assert {"vici", "openssl", "kernel-netlink"} <= set(status.plugins)
        assert ("kernel-libipsec" in status.plugins) == (status.dataplane == "userspace")
        assert status.ready_ms > 0
        assert status.memory > 1_000_000


async def test_the_sockets_and_the_log_belong_to_the_owner_alone(tmp_path):
    async with peers(log_dir=tmp_path) as bed:
        for name in ("charon.vici", "charon.enfy", CONTROL_SOCKET):
            found = (bed.runtime.run_dir(A) / name).stat()
            assert (found.st_mode & 0o777, found.st_uid) == (0o600, bed.plan.owner)
        assert (tmp_path / A / "charon.log").stat().st_uid == bed.plan.owner


async def test_keys_are_written_only_where_they_are_asked_for_and_for_the_owner_alone():
    async with host() as bed, agent(bed, keys=True) as (_, said):
        assert said["kind"] == READY
        assert ((bed.runtime.log_dir("host") / KEY_LOG).stat().st_mode & 0o777) == 0o600
    async with peers() as bed:
        assert not (bed.runtime.log_dir(A) / KEY_LOG).exists()


async def test_a_charon_that_dies_is_told_and_ends_its_node():
    events = EventStream()
    with pytest.raises(errors.NodeError, match="charon died, killed by SIGKILL"):
        async with peers(events=events) as bed:
            pid = (await bed.node(A).peer.status()).pid
            await bed.node(A).exec(["kill", "-KILL", str(pid)], check=False)
            await bed.events.wait_for("node.died", node=A, timeout=HEARD)
    died = await events.wait_for("charon.died", node=A, timeout=HEARD)
    assert died.data["status"] == -9
    assert died.data["log"]
    ended = await events.wait_for("node.died", node=A, timeout=HEARD)
    assert ended.data["status"] == errors.DaemonError.exit_status


async def test_a_peer_starts_again_after_its_agent_was_killed():
    async with host() as bed:
        path = bed.runtime.run_dir("host") / CONTROL_SOCKET
        async with agent(bed, inner_address="fd0a::1/64") as (process, said):
            assert said["kind"] == READY
            async with connect("host", path, lambda _: None) as client:
                first = (await Peer(client).status()).pid
            async with await anyio.open_process(
                bed.runtime.command("host", [sys.executable, "-c", UNTIL_GONE, str(first)])
            ) as watcher:
                process.kill()  # and the agent with it, and charon with the agent
                assert await watcher.wait() == 0
        async with agent(bed, inner_address="fd0a::1/64") as (_, said):
            assert said["kind"] == READY
            async with connect("host", path, lambda _: None) as client:
                assert (await Peer(client).status()).pid != first


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"dataplane": "magic"}, "x-hopbed of a peer: .*dataplane"),
        ({"inner_address": "nowhere"}, "x-hopbed of a peer: inner_address"),
        ({"retries": 1}, "x-hopbed of a peer: .*retries"),
    ],
)
async def test_an_option_that_is_wrong_ends_the_agent_before_charon_starts(options, why):
    async with host() as bed, agent(bed, **options) as (process, said):
        assert (said["kind"], said["data"]["type"]) == (FAILED, "UsageError")
        assert re.search(why, said["data"]["text"])
        assert await process.wait() == errors.UsageError.exit_status


async def test_a_machine_without_charon_is_told_how_to_get_it():
    folder = installation.find().charon.parent
    async with host() as bed, agent(bed, *hiding(folder)) as (process, said):
        assert said["data"]["type"] == "MachineError"
        assert "apt-get install --no-install-recommends strongswan-charon" in said["data"]["text"]
        assert await process.wait() == errors.MachineError.exit_status


async def test_a_node_without_tun_is_told_so_where_user_space_is_to_carry():
    async with host() as bed, agent(bed, *hiding("/dev/net"), dataplane="userspace") as (process, said):
        assert said["data"]["type"] == "MachineError"
        assert "/dev/net/tun does not exist" in said["data"]["text"]
        assert await process.wait() == errors.MachineError.exit_status


NO_PID_FILE = 'touch /run/charon.pid && mount -o bind,ro /run/charon.pid /run/charon.pid && exec "$@"'
"""Lets charon find a process file that it can neither remove nor write."""


async def test_a_charon_that_cannot_start_is_a_daemon_error_with_its_last_words():
    async with (
        host() as bed,
        agent(bed, "unshare", "--mount", "sh", "-c", NO_PID_FILE, "sh") as (process, said),
    ):
        assert said["data"]["type"] == "DaemonError"
        assert "charon did not start, it ended with status" in said["data"]["text"]
        assert await process.wait() == errors.DaemonError.exit_status


async def test_charon_starts_by_its_dynamic_loader_too():
    charon = installation.find().charon
    loader = installation.program_interpreter(charon)
    said = (await anyio.run_process([str(loader), str(charon), "--version"])).stdout
    assert b"strongSwan" in said
