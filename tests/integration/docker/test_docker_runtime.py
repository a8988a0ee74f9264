"""The docker runtime: nodes that reach each other and nobody else, and nothing left of them."""

import asyncio
import dataclasses
import json
import os
from pathlib import Path

import anyio
import docker
import pytest
from docker_runs import COMPOSE_FILE, left_of, small_plan

from nodes import errors
from nodes.agent import CONTROL_SOCKET
from orchestrator.control import connect
from orchestrator.events import EventStream
from orchestrator.runtimes.base import BRIDGE
from orchestrator.runtimes.docker.engine import Engine
from orchestrator.runtimes.docker.runtime import DockerRuntime
from orchestrator.testbed import bring_up
from orchestrator.topology.addressing import plan_run
from orchestrator.topology.load import load
from orchestrator.topology.plan import Dad, Dataplane, NodePlan

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


@pytest.fixture
def engine():
    client = docker.from_env()
    yield client
    client.close()


async def test_the_last_node_answers_the_first_by_name():
    async with bring_up(small_plan("host", "terminal", "host"), DockerRuntime) as bed:
        await bed.node("node-0").exec(["ping", "-6", "-c", "1", "-W", "5", "node-2"])


async def test_every_agent_answers_on_its_channel_and_a_host_has_none():
    async with bring_up(small_plan("terminal", "host", "ike"), DockerRuntime) as bed:
        assert bed.node("node-1").control is None
        for name in ("node-0", "node-2"):
            assert await bed.node(name).control.call("agent.ping", None, str) == name


async def test_a_node_has_its_own_name_and_its_plans_address_alone():
    plan = small_plan("host")
    async with bring_up(plan, DockerRuntime) as bed:
        assert (await bed.node("node-0").exec(["hostname"])).stdout == b"node-0\n"
        shown = await bed.node("node-0").exec(
            ["ip", "-json", "-6", "addr", "show", "dev", "eth0", "scope", "global"]
        )
        addresses = [info for link in json.loads(shown.stdout) for info in link["addr_info"] if info]
        assert [info["local"] for info in addresses] == [str(plan.nodes[0].address.ip)]


async def test_the_bridges_place_sees_the_interface_of_every_node():
    async with bring_up(small_plan("host", "host"), DockerRuntime) as bed:
        show = ["ip", "-json", "link", "show", "master", bed.runtime.bridge_interface()]
        links = json.loads((await anyio.run_process(bed.runtime.command(BRIDGE, show))).stdout)
        assert len(links) == 2


async def test_events_tell_of_the_bridge_and_of_every_node_that_is_up_and_ready():
    events = EventStream()
    async with bring_up(small_plan("terminal", "host"), DockerRuntime, events=events):
        said = [(event.kind, event.node) for event in events.past]
        assert said.index(("bridge.up", "")) < said.index(("node.up", "node-0"))
        for node in ("node-0", "node-1"):
            assert said.index(("node.up", node)) < said.index(("node.ready", node))


@pytest.mark.parametrize("dad", list(Dad))
async def test_every_address_is_usable_under_the_policy_once_the_testbed_is_up(dad):
    async with bring_up(small_plan("host", "terminal", dad=dad), DockerRuntime) as bed:
        for node in bed.nodes.values():
            shown = await node.exec(["ip", "-json", "-6", "address", "show", "dev", "eth0"])
            [interface] = json.loads(shown.stdout)
            assert {info["scope"] for info in interface["addr_info"]} == {"global", "link"}
            for info in interface["addr_info"]:
                assert bool(info.get("nodad")) == (dad is Dad.NODAD)
                assert not info.get("tentative")


async def test_under_nodad_an_address_that_comes_later_is_usable_at_once():
    async with bring_up(small_plan("host"), DockerRuntime) as bed:
        # the kernel ends the tentative state in a work queue of its own; detection takes a second and more
        add_and_wait = """
            ip -6 address add fd00::1/64 dev eth0
            ip -6 address show to fd00::1
            for i in $(seq 25); do
                [ -z "$(ip -6 address show tentative to fd00::1)" ] && exit 0
                sleep 0.02
            done
            exit 1
        """
        shown = await bed.node("node-0").exec(["bash", "-c", add_and_wait])
        assert b"fd00::1/64" in shown.stdout


async def test_full_detection_finds_a_duplicate_address():
    plan = small_plan("host", "host", dad=Dad.FULL)
    async with bring_up(plan, DockerRuntime) as bed:
        node, twin = bed.nodes.values()
        await twin.exec(["ip", "-6", "address", "add", f"{node.address}/64", "dev", "eth0", "nodad"])
        again = ["env", "HOPBED_DAD=full", *bed.runtime.python, "-m", "nodes.container_init", "true"]
        done = await node.exec(again, check=False)
        assert done.returncode == errors.NodeError.exit_status
        assert f"{node.address} is in use on the bridge already" in done.stdout.decode()


async def test_two_runs_at_once_do_not_meet():
    async with (
        bring_up(small_plan("host"), DockerRuntime) as one,
        bring_up(small_plan("host"), DockerRuntime) as other,
    ):
        there = other.node("node-0").address
        done = await one.node("node-0").exec(["ping", "-c", "1", "-W", "2", there], check=False)
        assert done.returncode != 0
        routes = (await one.node("node-0").exec(["ip", "-6", "route", "show", "default"])).stdout
        assert routes == b""


async def test_a_log_folder_of_the_host_is_the_nodes_log_folder(tmp_path: Path):
    async with bring_up(small_plan("terminal", log_dir=tmp_path), DockerRuntime) as bed:
        await bed.node("node-0").exec(["sh", "-c", "echo said > /run/hopbed/log/word"])
        assert (bed.runtime.log_dir("node-0") / "word").read_text() == "said\n"
    assert (tmp_path / "node-0" / "word").read_text() == "said\n"
    assert '"ready"' in (tmp_path / "node-0" / "agent.log").read_text()


async def test_nothing_is_left_after_the_context():
    plan = small_plan("terminal", "host")
    async with bring_up(plan, DockerRuntime):
        assert len(left_of(plan.run_id)) == 6  # 3 containers, network, folder, watcher
    assert left_of(plan.run_id) == []


async def test_nothing_is_left_of_a_bring_up_that_was_cancelled():
    plan = small_plan("terminal", "host")
    runtime = DockerRuntime()
    with anyio.CancelScope() as scope:
        await runtime.bring_up(plan, lambda event: scope.cancel() if event.kind == "node.up" else None)
    assert scope.cancelled_caught
    await runtime.take_down()
    assert left_of(plan.run_id) == []


@pytest.mark.parametrize("calls", range(1, 9))
async def test_nothing_is_left_of_a_bring_up_that_the_event_loop_cancelled(calls, monkeypatch):
    """As Ctrl-C does: asyncio cancels the task itself, in whatever call to the engine it is."""
    plan = small_plan("terminal", "host")
    runtime = DockerRuntime()
    bringing_up = asyncio.create_task(runtime.bring_up(plan, lambda event: None))
    run, made = Engine.run, 0

    async def run_and_cancel(self, call):
        nonlocal made
        made += 1
        if made == calls:
            asyncio.get_running_loop().call_later(0.005, bringing_up.cancel)
        return await run(self, call)

    monkeypatch.setattr(Engine, "run", run_and_cancel)
    with pytest.raises(asyncio.CancelledError):
        await bringing_up
    await runtime.take_down()
    assert left_of(plan.run_id) == []


async def test_taking_down_what_was_never_brought_up_does_nothing():
    await DockerRuntime().take_down()


async def test_the_default_testbed_comes_up_and_its_peers_carry_traffic_to_each_other():
    plan = plan_run(load(COMPOSE_FILE), owner=os.getuid())
    async with bring_up(plan, DockerRuntime) as bed:
        for node in plan.nodes:
            if node.role.has_agent:
                assert await bed.node(node.name).control.call("agent.ping", None, str) == node.name
        await bed.node("peer-a").exec(["ping", "-6", "-c", "1", "-W", "5", "peer-b"])


async def test_a_peer_without_a_tun_device_is_an_error_that_says_so_and_leaves_nothing():
    plan = small_plan("peer", "host", dataplane=Dataplane.USERSPACE)
    with pytest.raises(errors.MachineError, match="^node-0: .*tun"):
        async with bring_up(plan, DockerRuntime):
            pass
    assert left_of(plan.run_id) == []


class BadOptions(NodePlan):
    """A node whose agent cannot read its options."""

    def options(self, plan):
        return ["not", "an", "object"]


async def test_an_agent_that_fails_is_its_error_and_leaves_nothing():
    plan = small_plan("terminal", "host", node=BadOptions)
    with pytest.raises(errors.UsageError, match=r"^node-0: HOPBED_OPTIONS must be a JSON object"):
        async with bring_up(plan, DockerRuntime):
            pass
    assert left_of(plan.run_id) == []


async def test_a_container_that_just_ends_is_an_error_with_its_last_words(engine):
    base = engine.containers.create(
        "hopbed-node:bookworm",
        entrypoint=["sh", "-c", "printf '#!/bin/sh\\necho no way >&2; exit 3' > /usr/local/bin/hopbed-node"],
    )
    try:
        base.start()
        base.wait()
        image = base.commit("hopbed-test", base.name)
    finally:
        base.remove(force=True)
    plan = small_plan("terminal")
    broken = dataclasses.replace(plan.nodes[0], image=image.tags[0])
    runtime = DockerRuntime()
    try:
        with pytest.raises(errors.NodeError, match="node-0: ended with status 3 before it was ready: no way"):
            await runtime.bring_up(dataclasses.replace(plan, nodes=(broken,)), lambda event: None)
    finally:
        await runtime.take_down()
        engine.images.remove(image.tags[0])
    assert left_of(plan.run_id) == []


async def test_a_node_that_dies_later_is_an_event_with_its_status(engine):
    events = EventStream()
    plan = small_plan("terminal", "host")
    runtime = DockerRuntime()
    try:
        await runtime.bring_up(plan, events.publish)
        engine.containers.get(f"{plan.project}-node-1").kill()
        died = await events.wait_for("node.died", timeout=30)
        assert (died.node, died.data) == ("node-1", {"status": 137})
    finally:
        await runtime.take_down()


async def test_a_run_that_is_taken_down_tells_of_no_death():
    events = EventStream()
    async with bring_up(small_plan("terminal", "host"), DockerRuntime, events=events):
        pass
    assert "node.died" not in [event.kind for event in events.past]


async def test_containers_and_networks_of_others_stay(engine):
    container = engine.containers.run(
        "hopbed-node:bookworm", ["host"], detach=True, network_mode="none", labels={"hopbed": "not ours"}
    )
    network = engine.networks.create("not-ours", labels={"com.docker.compose.project": "hopbed-not-ours"})
    try:
        async with bring_up(small_plan("host"), DockerRuntime):
            pass
        await DockerRuntime.sweep()
        container.reload()
        assert container.status == "running"
        network.reload()
    finally:
        container.remove(force=True)
        network.remove()


async def test_docker_compose_finds_the_nodes_as_services_of_a_project(engine):
    plan = plan_run(load(COMPOSE_FILE), owner=0, nodes=("terminal-a", "host"))
    async with bring_up(plan, DockerRuntime):
        # what `docker compose ps` asks for
        asked = [f"project={plan.project}", "oneoff=False", "config-hash"]
        filters = {"label": [f"com.docker.compose.{label}" for label in asked]}
        services = [
            one.labels["com.docker.compose.service"] for one in engine.containers.list(filters=filters)
        ]
        assert sorted(services) == ["host", "terminal-a"]  # and not the bridge's place


async def test_a_prefix_that_docker_has_already_is_a_machine_error_that_says_so():
    plan = small_plan("host")
    async with bring_up(plan, DockerRuntime):
        same = small_plan("host", network=plan.network)
        with pytest.raises(errors.MachineError, match="another network of Docker's has these addresses"):
            async with bring_up(same, DockerRuntime):
                pass
        assert left_of(same.run_id) == []


async def test_the_control_socket_is_its_owners_alone():
    async with bring_up(small_plan("terminal"), DockerRuntime) as bed:
        socket = bed.runtime.run_dir("node-0") / CONTROL_SOCKET
        assert socket.stat().st_mode & 0o777 == 0o600
        async with connect("node-0", socket, lambda event: None) as client:
            assert await client.call("agent.ping", None, str) == "node-0"


async def test_a_device_that_the_machine_lacks_is_an_error_before_anything_starts():
    plan = small_plan("host")
    node = dataclasses.replace(plan.nodes[0], devices=("/dev/no-such-device",))
    with pytest.raises(errors.MachineError, match="no device /dev/no-such-device"):
        await DockerRuntime().check(dataclasses.replace(plan, nodes=(node,)))


async def test_an_image_that_the_engine_lacks_is_an_error_before_anything_starts():
    plan = small_plan("host")
    node = dataclasses.replace(plan.nodes[0], image="no-such-image:at-all")
    with pytest.raises(errors.MachineError, match="no-such-image:at-all"):
        await DockerRuntime().check(dataclasses.replace(plan, nodes=(node,)))


async def test_a_node_called_like_the_bridges_place_is_an_error_before_anything_starts():
    plan = small_plan("host")
    node = dataclasses.replace(plan.nodes[0], name=BRIDGE)
    with pytest.raises(errors.UsageError, match="'bridge'"):
        await DockerRuntime().check(dataclasses.replace(plan, nodes=(node,)))
