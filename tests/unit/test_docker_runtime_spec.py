"""What the docker runtime asks the engine for."""

import ipaddress
import json
from pathlib import Path

import pytest

from orchestrator.runtimes.docker import spec
from orchestrator.runtimes.docker.owner import Owner
from orchestrator.runtimes.docker.run_folder import RunFolder
from orchestrator.runtimes.plan_json import plan_from_json
from orchestrator.topology.load import load
from orchestrator.topology.plan import Dad, NodePlan, RoleName, RunPlan

OLD = spec.Platform(api=(1, 41), has_optimistic_dad=True)
NEW = spec.Platform(api=(1, 48), has_optimistic_dad=True)
OWNER = Owner(uid=1000, pid=7, started=8, boot_id="boot", pid_namespace=9)
FOLDER = RunFolder(Path("/run/user/1000/hopbed/0123abcd"))


def node(name="node", address="fd00::a/64", **changes):
    role = changes.pop("role", RoleName.HOST)
    return NodePlan(name=name, role=role, address=ipaddress.IPv6Interface(address), **changes)


def plan(*nodes, **changes):
    values = {
        "run_id": "0123abcd",
        "network": ipaddress.IPv6Network("fd00::/64"),
        "nodes": nodes or (node(),),
        "owner": 1000,
        "log_dir": None,
        "compose_file": Path("/home/user/bed/compose.yaml"),
    }
    return RunPlan(**values | changes)


def container(of, platform=OLD):
    return spec.node_config(of, of.nodes[0], OWNER, FOLDER, platform)


def test_network_is_internal_with_the_plans_prefix_under_composes_name():
    asked = spec.network_of(plan(), OWNER, FOLDER)
    assert (asked["name"], asked["internal"], asked["enable_ipv6"]) == ("hopbed-0123abcd_bridge", True, True)
    assert asked["ipam"]["Config"] == [{"Subnet": "fd00::/64", "Gateway": "fd00::ffff:ffff:ffff:fffe"}]


def test_network_holds_the_plan_for_other_processes():
    assert plan_from_json(spec.network_of(plan(), OWNER, FOLDER)["labels"]["io.hopbed.plan"]) == plan()


def test_host_takes_an_address_that_no_node_has():
    small = ipaddress.IPv6Network("fd00::/125")
    nodes = [node(f"n{i}", f"fd00::{i}/125") for i in (1, 5, 6)]
    assert spec.host_address(plan(*nodes, network=small)) == ipaddress.IPv6Address("fd00::4")


def test_container_has_the_nodes_name_address_and_role():
    asked = container(plan())
    assert asked["Hostname"] == "node"
    assert asked["Cmd"] == ["host"]
    endpoint = asked["NetworkingConfig"]["EndpointsConfig"]["hopbed-0123abcd_bridge"]
    assert endpoint["IPAMConfig"] == {"IPv6Address": "fd00::a"}


def test_container_tells_the_agent_its_name_owner_and_options():
    env = dict(text.split("=", 1) for text in container(plan())["Env"])
    assert (env["HOPBED_NODE"], env["HOPBED_OWNER"], env["HOPBED_DAD"]) == ("node", "1000", "nodad")
    assert json.loads(env["HOPBED_OPTIONS"]) == {"address": "fd00::a", "dataplane": "auto"}


def test_container_has_the_capabilities_that_a_node_needs_and_those_of_the_plan_and_no_other():
    plain, raw = (container(plan(node(cap_add=names)))["HostConfig"] for names in ((), ("NET_RAW",)))
    assert plain["CapDrop"] == raw["CapDrop"] == ["ALL"]
    assert tuple(plain["CapAdd"]) == spec.CAPABILITIES
    assert set(raw["CapAdd"]) - set(plain["CapAdd"]) == {"NET_RAW"}


def test_no_container_is_privileged_or_can_gain_privileges():
    for config in (container(plan()), spec.bridge_config(plan(), OWNER, FOLDER)):
        host = config["HostConfig"]
        assert "Privileged" not in host
        assert host["SecurityOpt"] == ["no-new-privileges:true"]


def test_the_default_testbed_asks_compose_for_the_same_capabilities():
    nodes = load(Path("compose.yaml")).nodes
    assert {frozenset(node.cap_add) for node in nodes} == {frozenset({*spec.CAPABILITIES, "NET_RAW"})}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/dev/net/tun", ("/dev/net/tun", "/dev/net/tun", "rwm")),
        ("/dev/a:/dev/b", ("/dev/a", "/dev/b", "rwm")),
        ("/dev/a:/dev/b:r", ("/dev/a", "/dev/b", "r")),
    ],
)
def test_devices_are_in_composes_short_form(text, wanted):
    [device] = container(plan(node(devices=(text,))))["HostConfig"]["Devices"]
    assert (device["PathOnHost"], device["PathInContainer"], device["CgroupPermissions"]) == wanted


def test_logs_go_with_the_run_unless_the_plan_says_where_they_stay():
    [run_dir] = container(plan())["HostConfig"]["Mounts"]
    assert (run_dir["Source"], run_dir["Target"]) == (str(FOLDER.path / "node"), "/run/hopbed")
    mounts = container(plan(log_dir=Path("/evidence/nodes")))["HostConfig"]["Mounts"]
    assert [(m["Source"], m["Target"]) for m in mounts[1:]] == [("/evidence/nodes/node", "/run/hopbed/log")]


def test_nodes_know_each_other_by_name():
    two = plan(node("a", "fd00::a/64"), node("b", "fd00::b/64"))
    assert container(two)["HostConfig"]["ExtraHosts"] == ["b:fd00::b"]


def test_policy_for_later_addresses_is_set_where_the_engine_takes_an_interfaces_settings():
    old, new = container(plan(), OLD), container(plan(), NEW)
    assert old["HostConfig"]["Sysctls"]["net.ipv6.conf.eth0.accept_dad"] == "0"
    assert not [name for name in new["HostConfig"]["Sysctls"] if ".eth0." in name]
    [endpoint] = new["NetworkingConfig"]["EndpointsConfig"].values()
    named = endpoint["DriverOpts"]["com.docker.network.endpoint.sysctls"].split(",")
    assert "net.ipv6.conf.IFNAME.accept_dad=0" in named


@pytest.mark.parametrize("platform", [OLD, NEW])
def test_full_detection_is_the_kernels_own_policy(platform):
    asked = container(plan(dad=Dad.FULL), platform)
    [endpoint] = asked["NetworkingConfig"]["EndpointsConfig"].values()
    assert asked["HostConfig"]["Sysctls"] == {}
    assert "DriverOpts" not in endpoint


def test_optimistic_detection_is_asked_for_only_where_the_kernel_has_it():
    optimistic = plan(dad=Dad.OPTIMISTIC)
    assert container(optimistic)["HostConfig"]["Sysctls"]["net.ipv6.conf.all.optimistic_dad"] == "1"
    without = OLD._replace(has_optimistic_dad=False)
    assert container(optimistic, without)["HostConfig"]["Sysctls"] == {}


def test_the_compose_files_own_settings_win():
    own = node(sysctls={"net.ipv6.conf.all.accept_dad": "1"})
    assert container(plan(own))["HostConfig"]["Sysctls"]["net.ipv6.conf.all.accept_dad"] == "1"


def test_container_is_a_service_of_a_compose_project():
    labels = container(plan())["Labels"]
    compose = {name.removeprefix("com.docker.compose."): value for name, value in labels.items()}
    assert (compose["project"], compose["service"]) == ("hopbed-0123abcd", "node")
    assert (compose["container-number"], compose["oneoff"]) == ("1", "False")
    assert compose["project.config_files"] == "/home/user/bed/compose.yaml"
    assert len(compose["config-hash"]) == 64


def test_config_hash_differs_with_what_the_container_is_made_of():
    one, other = (container(plan(node(init=init)))["Labels"] for init in (True, False))
    assert one["com.docker.compose.config-hash"] != other["com.docker.compose.config-hash"]


def test_everything_carries_the_runs_labels():
    wanted = {
        "io.hopbed.run": "0123abcd",
        "io.hopbed.owner": str(OWNER),
        "io.hopbed.run-dir": str(FOLDER.path),
    }
    asked = [
        spec.network_of(plan(), OWNER, FOLDER)["labels"],
        container(plan())["Labels"],
        spec.bridge_config(plan(), OWNER, FOLDER)["Labels"],
    ]
    for labels in asked:
        assert wanted.items() <= labels.items()


def test_the_bridges_place_is_in_the_hosts_network_and_no_service():
    asked = spec.bridge_config(plan(), OWNER, FOLDER)
    assert asked["HostConfig"]["NetworkMode"] == "host"
    assert asked["HostConfig"]["CapAdd"] == sorted({*spec.CAPABILITIES, "NET_RAW"})
    assert not [label for label in asked["Labels"] if label.startswith("com.docker.compose")]
