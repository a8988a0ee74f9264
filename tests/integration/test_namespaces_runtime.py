"""The namespaces runtime: nodes that reach each other, and nothing left of them, however a run ends."""

import contextlib
import ipaddress
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import pytest

from nodes.errors import MachineError, NodeError, UsageError
from orchestrator.control import connect
from orchestrator.events import EventStream
from orchestrator.runtimes.base import BRIDGE
from orchestrator.runtimes.namespaces import register
from orchestrator.runtimes.namespaces.runtime import NamespacesRuntime
from orchestrator.testbed import bring_up
from orchestrator.topology.addressing import random_site
from orchestrator.topology.plan import Dad, NodePlan, RoleName, RunPlan

pytestmark = pytest.mark.anyio

NOBODY = 65534


def small_plan(*roles, run_id=None, **changes):
    """A plan of one node a role, on a prefix of its own."""
    site = random_site()
    network = ipaddress.IPv6Network((site.network_address, 64))
    nodes = tuple(
        NodePlan(name=f"node-{i}", role=RoleName(role), address=ipaddress.IPv6Interface((network[i + 2], 64)))
        for i, role in enumerate(roles)
    )
    values = {
        "run_id": run_id or os.urandom(4).hex(),
        "network": network,
        "nodes": nodes,
        "owner": os.getuid(),
        "log_dir": None,
        "compose_file": Path("compose.yaml"),
    }
    return RunPlan(**values | changes)


def processes_of(run_id):
    """Every process on this machine that bears the run's mark."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"hopbed-run={run_id}" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def namespaces_of(pids):
    """The network namespaces of these processes, less our own."""
    found = set()
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
    return found - {os.readlink("/proc/self/ns/net")}


def all_namespaces():
    return namespaces_of(int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())


async def test_the_last_node_answers_the_first_by_name():
    async with bring_up(small_plan("host", "terminal", "host"), NamespacesRuntime) as bed:
        await bed.node("node-0").exec(["ping", "-6", "-c", "1", "-W", "5", "node-2"])


async def test_each_node_has_its_own_name_processes_and_links():
    async with bring_up(small_plan("terminal", "terminal"), NamespacesRuntime) as bed:
        for name, node in bed.nodes.items():
            assert (await node.exec(["hostname"])).stdout.decode().strip() == name
            links = json.loads((await node.exec(["ip", "-json", "link"])).stdout)
            assert [link["ifname"] for link in links] == ["lo", "eth0"]
            assert (await node.exec(["ls", "/sys/class/net"])).stdout.split() == [b"eth0", b"lo"]
            seen = (await node.exec(["ps", "-e", "-o", "pid="])).stdout.split()
            assert len(seen) == 4  # process 1, the keeper with its agent, and ps itself


DROP_ALL = "table ip6 t { chain c { type filter hook forward priority 0; policy drop; }; }"


@pytest.mark.skipif(
    not Path("/proc/sys/net/bridge").exists(), reason="no br_netfilter, so that nothing can come between"
)
async def test_the_bridge_forwards_frames_whatever_filters_ipv6_there():
    """br_netfilter, which Docker loads, would lead them through the filter as if they were routed."""
    async with bring_up(small_plan("host", "host"), NamespacesRuntime) as bed:
        await anyio.run_process(bed.runtime.command(BRIDGE, ["nft", DROP_ALL]))
        there = bed.node("node-1").address
        reached = await bed.node("node-0").exec(["ping", "-6", "-c", "1", "-W", "5", there], check=False)
        assert b" 1 received" in reached.stdout


async def test_the_bridge_sees_every_nodes_link():
    async with bring_up(small_plan("host", "host"), NamespacesRuntime) as bed:
        command = bed.runtime.command(BRIDGE, ["ip", "-json", "link", "show", "master", "bridge"])
        links = json.loads((await anyio.run_process(command)).stdout)
        assert sorted(link["ifname"] for link in links) == ["node-0", "node-1"]


async def test_every_agent_answers_on_its_channel_and_a_host_has_none():
    async with bring_up(small_plan("terminal", "host", "ike"), NamespacesRuntime) as bed:
        assert bed.node("node-1").control is None
        for name in ("node-0", "node-2"):
            assert await bed.node(name).control.call("agent.ping", None, str) == name


@pytest.mark.parametrize("dad", list(Dad))
async def test_no_address_is_tentative_once_the_testbed_is_up(dad):
    async with bring_up(small_plan("host", dad=dad), NamespacesRuntime) as bed:
        shown = json.loads(
            (await bed.node("node-0").exec(["ip", "-json", "-6", "addr", "show", "eth0"])).stdout
        )
        addresses = {info["scope"]: info for info in shown[0]["addr_info"]}
        assert set(addresses) == {"global", "link"}
        assert not any(info.get("tentative") for info in addresses.values())
        assert bool(addresses["global"].get("nodad")) == (dad is Dad.NODAD)


async def test_full_detection_finds_a_duplicate_address():
    plan = small_plan("host", "host", dad=Dad.FULL)
    twin = NodePlan(name="twin", role=RoleName.HOST, address=plan.nodes[0].address)
    plan = small_plan("host", dad=Dad.FULL, network=plan.network, nodes=(*plan.nodes, twin))
    with pytest.raises(NodeError, match="is in use on the bridge already"):
        async with bring_up(plan, NamespacesRuntime):
            pass
    assert processes_of(plan.run_id) == []


async def test_a_log_folder_of_the_host_is_the_nodes_log_folder(tmp_path):
    async with bring_up(small_plan("terminal", log_dir=tmp_path), NamespacesRuntime) as bed:
        await bed.node("node-0").exec(["sh", "-c", "echo said > /run/hopbed/log/word"])
        assert (bed.runtime.log_dir("node-0") / "word").read_text() == "said\n"
    assert (tmp_path / "node-0" / "word").read_text() == "said\n"


async def test_nothing_is_left_after_the_context():
    plan = small_plan("terminal", "host")
    async with bring_up(plan, NamespacesRuntime):
        mine = namespaces_of(processes_of(plan.run_id))
        assert len(mine) >= 3  # the bridge's and the nodes'
    assert processes_of(plan.run_id) == []
    assert not mine & all_namespaces()


async def test_an_agent_that_cannot_start_is_the_error_and_leaves_nothing():
    plan = small_plan("terminal")
    broken = NodePlan(name="broken", role=RoleName.TERMINAL, address=plan.nodes[0].address)
    plan = small_plan("host", nodes=(broken,), network=plan.network)
    agentless = type("NoPython", (NamespacesRuntime,), {})
    from orchestrator.runtimes.namespaces import runtime as module

    original = module.sys.executable
    module.sys.executable = "/nonexistent/python"
    try:
        with pytest.raises(NodeError, match="No such file"):
            async with bring_up(plan, agentless):
                pass
    finally:
        module.sys.executable = original
    assert processes_of(plan.run_id) == []


async def test_an_agent_that_dies_ends_the_testbed_with_its_name():
    with pytest.raises(NodeError, match="node-0 died"):
        async with bring_up(small_plan("terminal", "terminal"), NamespacesRuntime) as bed:
            await bed.node("node-0").exec(["pkill", "-KILL", "-f", "nodes.agent"])
            await anyio.sleep_forever()


async def test_a_command_in_a_node_ends_with_whoever_ran_it():
    async with bring_up(small_plan("host"), NamespacesRuntime) as bed:
        process = await anyio.open_process(
            bed.runtime.command("node-0", ["sh", "-c", "echo on; exec sleep 1000"]), stdout=subprocess.PIPE
        )
        await process.stdout.receive()
        process.kill()
        await process.wait()
        with anyio.fail_after(10):  # its death is signalled, not awaited: look until it is done
            while b"sleep" in (await bed.node("node-0").exec(["ps", "-e", "-o", "comm="])).stdout:
                await anyio.lowlevel.checkpoint()


async def test_an_exit_status_and_both_streams_pass_through():
    async with bring_up(small_plan("host"), NamespacesRuntime) as bed:
        done = await bed.node("node-0").exec(
            ["sh", "-c", "cat; echo err >&2; exit 7"], check=False, stdin=b"in"
        )
        assert (done.returncode, done.stdout, done.stderr) == (7, b"in", b"err\n")
        with pytest.raises(NodeError, match="node-0: sh -c exit 7 ended with status 7"):
            await bed.node("node-0").exec(["sh", "-c", "exit 7"])


OWNER = textwrap.dedent("""
    import sys
    import anyio
    from orchestrator.events import EventStream
    from orchestrator.runtimes.namespaces.runtime import NamespacesRuntime
    from orchestrator.runtimes.plan_json import plan_from_json
    from orchestrator.testbed import bring_up, leave_up

    async def main():
        events = EventStream()
        events.add_sink(lambda event: print(event.kind, flush=True))
        plan = plan_from_json(sys.stdin.readline())
        if sys.argv[1] == "detach":
            await leave_up(plan, NamespacesRuntime, events)
        else:
            async with bring_up(plan, NamespacesRuntime, events=events):
                await anyio.sleep_forever()

    anyio.run(main)
""")


def owner_of(plan, mode="attached", **popen):
    from orchestrator.runtimes.plan_json import plan_to_json

    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **popen
    )
    process.stdin.write(plan_to_json(plan) + "\n")
    process.stdin.flush()
    return process


async def gone(run_id, spaces=frozenset()):
    """Wait until the kernel has taken every process and namespace of the run away."""
    with anyio.fail_after(10):
        while processes_of(run_id) or spaces & all_namespaces():
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("moment", range(10))
async def test_a_killed_owner_leaves_nothing_at_any_moment(moment):
    """The moments are the first ten events of a run."""
    plan = small_plan("terminal", "terminal", "host", "host")
    process = owner_of(plan)
    for _ in range(moment + 1):
        assert process.stdout.readline()
    spaces = namespaces_of(processes_of(plan.run_id))
    process.kill()
    process.wait()
    process.stdout.close()
    await gone(plan.run_id, spaces)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_supervisor_that_is_ended_takes_its_run_with_it(number):
    plan = small_plan("terminal")
    process = owner_of(plan)
    while process.stdout.readline().strip() != "testbed.up":
        pass
    (pid,) = [pid for run_id, pid in register.supervisors() if run_id == plan.run_id]
    os.kill(pid, number)
    await gone(plan.run_id)
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("moment", ["bridge.up", "node.ready"])
async def test_a_supervisor_that_is_killed_while_its_run_comes_up_is_an_error_of_the_run(moment):
    plan = small_plan("host")
    events = EventStream()

    def kill(event):
        if event.kind == moment:
            (pid,) = [pid for run_id, pid in register.supervisors() if run_id == plan.run_id]
            os.kill(pid, signal.SIGKILL)

    events.add_sink(kill)
    with pytest.raises(NodeError, match="supervisor"):
        async with bring_up(plan, NamespacesRuntime, events=events):
            await anyio.sleep_forever()  # it may have been up before the death was noticed
    await gone(plan.run_id)


async def test_a_program_for_a_node_of_a_run_that_ended_is_an_error_of_that_node():
    plan = small_plan("host")
    with pytest.raises(NodeError, match="supervisor"):
        async with bring_up(plan, NamespacesRuntime) as bed:
            (pid,) = [pid for run_id, pid in register.supervisors() if run_id == plan.run_id]
            os.kill(pid, signal.SIGKILL)
            await gone(plan.run_id)
            with pytest.raises(NodeError, match="node-0: its run ended"):
                bed.runtime.command("node-0", ["true"])
            await anyio.sleep_forever()


async def test_a_run_that_is_left_up_is_found_used_and_ended_by_another_process():
    plan = small_plan("terminal", "host")
    process = owner_of(plan, "detach")
    assert process.wait(30) == 0
    process.stdout.close()
    assert plan in [record.plan for record in await NamespacesRuntime.runs()]
    runtime = await NamespacesRuntime.attach(plan.run_id)
    async with connect("node-0", runtime.run_dir("node-0") / "control.sock", lambda _: None) as client:
        assert await client.call("agent.ping", None, str) == "node-0"
    await runtime.take_down()
    assert processes_of(plan.run_id) == []
    with pytest.raises(UsageError, match=f"no run {plan.run_id} is up"):
        await NamespacesRuntime.attach(plan.run_id)


async def test_an_owner_killed_before_it_left_its_run_up_leaves_nothing():
    plan = small_plan("terminal")
    process = owner_of(plan, "detach", env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    await gone(plan.run_id)


async def test_eight_runs_side_by_side_do_not_meet():
    async def one():
        async with bring_up(small_plan("terminal", "host"), NamespacesRuntime) as bed:
            await bed.node("node-0").exec(["ping", "-6", "-c", "1", "-W", "5", "node-1"])
            addresses.append(bed.node("node-0").address)

    addresses = []
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(one)
    assert len(set(addresses)) == 8


async def test_a_plan_that_this_machine_cannot_run_is_refused_before_anything_starts(monkeypatch):
    plan = small_plan("host")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MachineError, match="apt-get install (iproute2|util-linux)"):
        async with bring_up(plan, NamespacesRuntime):
            pass
    assert processes_of(plan.run_id) == []
