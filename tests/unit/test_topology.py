"""A compose file becomes a topology, or one error with file and line."""

import ipaddress
from pathlib import Path

import pytest

from nodes.errors import TopologyError, UsageError
from orchestrator.topology.addressing import moved, plan_run, random_site
from orchestrator.topology.load import load
from orchestrator.topology.plan import RoleName

ROOT = Path(__file__).parents[2]
DEFAULT = (ROOT / "compose.yaml").read_text()


@pytest.fixture
def refusal(tmp_path):
    """The error for the default testbed with one thing changed, less the folder's name."""

    def refuse(old: str, new: str) -> str:
        assert old in DEFAULT
        file = tmp_path / "compose.yaml"
        file.write_text(DEFAULT.replace(old, new, 1))
        with pytest.raises(TopologyError) as caught:
            load(file)
        return str(caught.value).removeprefix(f"{tmp_path}/")

    return refuse


def line_of(text: str, nth: int = 1) -> int:
    lines = [number for number, line in enumerate(DEFAULT.splitlines(), 1) if text in line]
    return lines[nth - 1]


def test_the_default_testbed_has_every_role():
    roles = [node.role for node in load(ROOT / "compose.yaml").nodes]
    assert sorted(roles) == sorted(
        [*[RoleName.TERMINAL] * 2, *[RoleName.PEER] * 2, *[RoleName.IKE] * 2, RoleName.HOST]
    )


def test_an_unknown_key_is_named_with_its_line_and_the_known_keys(refusal):
    said = refuse_line = refusal("  init: true", "  init: true\n  privileged: true")
    assert said.startswith(
        f"compose.yaml:{line_of('init: true') + 1}: services.terminal-a.privileged: unknown key"
    )
    assert "cap_add" in refuse_line


def test_an_unknown_key_of_x_hopbed_is_named(refusal):
    assert "services.peer-a.x-hopbed.iner: unknown key; Hopbed understands inner, role" in refusal(
        "role: peer, inner", "role: peer, iner"
    )


def test_a_duplicate_address_names_both_nodes(refusal):
    said = refusal("::b1", "::a1")
    assert said.startswith(f"compose.yaml:{line_of('::b1')}: services.terminal-b.")
    assert said.endswith("::a1 is already that of terminal-a")


@pytest.mark.parametrize(
    "prefix", ["10.0.0.0/24", "fd68:6f70:6264:1::1/64", "fd68:6f70:6264:1::/129", "none"]
)
def test_a_prefix_that_is_no_ipv6_is_refused(refusal, prefix):
    said = refusal('subnet: "fd68:6f70:6264:1::/64"', f'subnet: "{prefix}"')
    assert said.startswith(f"compose.yaml:{line_of('subnet:')}: networks.bridge.ipam.config.0.subnet: ")
    assert "is no IPv6 prefix" in said


def test_a_prefix_longer_than_64_bits_leaves_no_interface_identifier(refusal):
    assert "is no /64" in refusal('subnet: "fd68:6f70:6264:1::/64"', 'subnet: "fd68:6f70:6264:1::/80"')


def test_an_address_that_is_no_ipv6_is_refused(refusal):
    assert "is no IPv6 address" in refusal("::d1", "::zz")


def test_an_address_outside_the_prefix_is_refused(refusal):
    assert "is not in fd68:6f70:6264:1::/64" in refusal("6264:1::d1", "6264:2::d1")


def test_the_bridges_own_address_is_taken(refusal):
    assert refusal("::d1", "::1").endswith("is already that of the bridge itself")


def test_a_role_that_does_not_exist_is_refused_with_those_that_do(refusal):
    assert refusal("{role: host}", "{role: hos}").endswith(
        "'hos' is no role; the roles are terminal, peer, ike, host"
    )


def test_two_nodes_of_one_name_are_refused_at_the_second(refusal):
    said = refusal("  terminal-b:", "  terminal-a:")
    line = line_of("  terminal-b:")
    assert said == f"compose.yaml:{line}: the name 'terminal-a' stands here twice; give each its own"


@pytest.mark.parametrize("name", ["Host", "a-very-long-name-here", "bridge", "-x", "log.d"])
def test_a_name_that_cannot_be_an_interface_is_refused(refusal, name):
    assert "a node's name has" in refusal("  host:\n", f"  {name}:\n")


def test_a_command_that_contradicts_the_role_is_refused(refusal):
    assert "must be [host], for x-hopbed says that the role is host" in refusal("[host]", "[peer]")


def test_a_host_name_other_than_the_nodes_is_refused(refusal):
    assert "must be host, for that is what" in refusal("hostname: host", "hostname: other")


def test_a_peer_needs_an_inner_prefix(refusal):
    assert "x-hopbed.inner is missing" in refusal(', inner: "fd68:6f70:6264:a::/64"', "")


def test_a_host_has_no_inner_prefix(refusal):
    assert "a host is no tunnel's end" in refusal(
        "{role: host}", '{role: host, inner: "fd68:6f70:6264:d::/64"}'
    )


def test_inner_prefixes_do_not_overlap(refusal):
    assert refusal("6264:b::/64", "6264:a::/64").endswith("overlaps fd68:6f70:6264:a::/64 of peer-a")


def test_an_inner_prefix_moves_with_the_run_and_so_must_share_its_48_bits(refusal):
    assert "which each run replaces" in refusal("6264:b::/64", "6265:b::/64")


def test_ipv6_cannot_be_switched_off(refusal):
    assert "networks.bridge.enable_ipv6" in refusal("enable_ipv6: true", "enable_ipv6: false")


def test_what_is_no_yaml_is_refused_with_its_line(refusal):
    assert refusal("services:", "services: [").startswith("compose.yaml:")


def test_a_file_that_does_not_exist_is_one_error(tmp_path):
    with pytest.raises(TopologyError, match="No such file or directory; name a compose file with --file"):
        load(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "42\n", "services: {}\nnetworks: {}\n"])
def test_a_file_that_is_no_compose_file_is_one_error(tmp_path, text):
    file = tmp_path / "compose.yaml"
    file.write_text(text)
    with pytest.raises(TopologyError, match=r"compose\.yaml:1: "):
        load(file)


def test_each_run_has_its_own_prefix_id_and_name():
    topology = load(ROOT / "compose.yaml")
    one, other = plan_run(topology, owner=0), plan_run(topology, owner=0)
    assert one.network != other.network
    assert one.project != other.project
    assert one.network.network_address in ipaddress.IPv6Network("fd00::/8")


def test_a_run_keeps_what_follows_the_48_bits():
    site = random_site()
    address = moved(ipaddress.IPv6Address("fd68:6f70:6264:a::b2"), site)
    assert address in site
    assert int(address) & ((1 << 80) - 1) == int(ipaddress.IPv6Address("::a:0:0:0:b2"))


def test_a_node_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match=r"no node nobody, x in .*compose\.yaml"):
        plan_run(load(ROOT / "compose.yaml"), owner=0, nodes=("x", "peer-a", "nobody"))


def test_a_run_may_take_some_of_the_nodes():
    plan = plan_run(load(ROOT / "compose.yaml"), owner=0, nodes=("peer-b", "peer-a"))
    assert [node.name for node in plan.nodes] == ["peer-a", "peer-b"]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("[CHOWN, ", "[SYS_ADMIN, ", "services.terminal-a.cap_add.0"),
        ("devices: [/dev/net/tun]", 'devices: ["/dev/sda"]', "services.peer-a.devices.0"),
        ("devices: [/dev/net/tun]", 'devices: ["/dev/net/tun:/dev/sda"]', "services.peer-a.devices.0"),
        ("init: true", "init: true\n  privileged: true", "services.terminal-a.privileged"),
        ("init: true", 'init: true\n  volumes: ["/:/host"]', "services.terminal-a.volumes"),
        ("init: true", "init: true\n  network_mode: host", "services.terminal-a.network_mode"),
        ("init: true", "init: true\n  pid: host", "services.terminal-a.pid"),
        ("sysctls: {net.", "sysctls: {kernel.core_pattern: x, net.", "services.terminal-a.sysctls"),
        ("hopbed-node:bookworm", "somebody/miner", "services.terminal-a.image"),
    ],
)
def test_a_file_from_somebody_else_gets_nothing_of_the_machine(refusal, old, new, where):
    assert f": {where}: " in refusal(old, new)


def test_another_image_is_run_only_if_the_user_trusts_it(refusal, tmp_path, monkeypatch):
    said = refusal("hopbed-node:bookworm", "mine:1")
    assert said.endswith("name hopbed-node, or set HOPBED_IMAGES=mine:1 if you trust it")
    monkeypatch.setenv("HOPBED_IMAGES", "other:2, mine:1")
    file = tmp_path / "compose.yaml"
    file.write_text(DEFAULT.replace("hopbed-node:bookworm", "mine:1"))
    assert {node.image for node in load(file).nodes} == {"mine:1"}


def test_a_scenarios_settings_reach_the_nodes_agent():
    settings = {"peer-a": {"retransmit_timeout": 1.0}}
    plan = plan_run(load(ROOT / "compose.yaml"), owner=0, nodes=("peer-a", "peer-b"), settings=settings)
    assert plan.node("peer-a").options(plan)["retransmit_timeout"] == 1.0
    assert "retransmit_timeout" not in plan.node("peer-b").options(plan)


def test_a_setting_that_a_peer_does_not_have_is_refused():
    with pytest.raises(UsageError, match="unknown field `retransmit`"):
        plan_run(load(ROOT / "compose.yaml"), owner=0, settings={"peer-a": {"retransmit": 1}})
