"""What a hop changes about addresses, routes and neighbours: each change is in the kernel when it returns."""

import errno
import json
import subprocess
import sys

import pytest
from bridged_nodes import ADDRESSES, bridged_nodes
from held_namespaces import ROOT

pytestmark = pytest.mark.root

B = ADDRESSES["b"]
SECOND = "fd68:6f70:6264:1::a2"
PROGRAM = """
import sys
from ipaddress import IPv6Address, IPv6Network
from nodes.terminal import rt_messages as rt
from nodes.terminal.rt_socket import RouteRefusedError, RouteSocket
call = eval(sys.argv[1])
with RouteSocket() as changes:
    try:
        changes.change(lambda number: call(number), but=eval(sys.argv[2]))
        print("made")
    except RouteRefusedError as refused:
        print(refused.number)
"""


@pytest.fixture
def nodes(tmp_path):
    with bridged_nodes(tmp_path) as nodes:
        yield nodes


def change(nodes, call, *, but=()):
    """What came of a change in node ``a``, whose interface has the index ``eth0``."""
    index = json.loads(nodes.run("a", "ip -json link show eth0"))[0]["ifindex"]
    source = f"lambda number: rt.{call}, sequence=number)".replace("eth0", str(index))
    argv = nodes.command("a", [sys.executable, "-c", PROGRAM, source, repr(but)])
    done = subprocess.run(argv, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=True)
    return done.stdout.strip()


def shown(nodes):
    """The second address as ``ip`` shows it; None where the interface does not have it."""
    listed = json.loads(nodes.run("a", f"ip -json -6 address show dev eth0 to {SECOND}"))
    return next((info for one in listed for info in one.get("addr_info", [])), None)


def test_an_address_is_added_with_lifetimes_and_flags_given_others_and_deleted(nodes):
    added = f"set_address(IPv6Address('{SECOND}'), eth0, flags=0x202, preferred=100, valid=200"
    assert change(nodes, added) == "made"
    there = shown(nodes)
    assert there["prefixlen"] == 64
    assert there["nodad"]
    assert there["noprefixroute"]
    assert 0 < there["preferred_life_time"] <= 100 < there["valid_life_time"] <= 200
    assert change(nodes, added.replace("preferred=100", "preferred=0")) == "made"
    assert shown(nodes)["deprecated"]
    assert change(nodes, f"delete_address(IPv6Address('{SECOND}'), eth0") == "made"
    assert shown(nodes) is None


def test_what_is_gone_already_is_an_error_only_where_it_is_not_excepted(nodes):
    gone = f"delete_address(IPv6Address('{SECOND}'), eth0"
    assert change(nodes, gone) == str(errno.EADDRNOTAVAIL)
    assert change(nodes, gone, but=(errno.EADDRNOTAVAIL,)) == "made"


def test_an_address_is_held_without_an_interface_and_released(nodes):
    for _ in range(2):
        assert change(nodes, f"hold_address(IPv6Address('{SECOND}')") == "made"
    assert f"local {SECOND}" in nodes.run("a", f"ip -6 route get {SECOND}")
    assert change(nodes, f"release_address(IPv6Address('{SECOND}')") == "made"
    assert f"local {SECOND}" not in nodes.run("a", f"ip -6 route get {SECOND}")


def test_a_prefix_is_on_the_link_whether_an_address_of_it_is_there_or_not(nodes):
    assert change(nodes, "stand_prefix(IPv6Network('fd00:7::/64'), eth0") == "made"
    assert "dev eth0" in nodes.run("a", "ip -6 route show fd00:7::/64")


def test_a_neighbour_is_forgotten(nodes):
    assert "lladdr" in nodes.run("a", f"ip -6 neighbour show {B}")
    assert change(nodes, f"delete_neighbour(IPv6Address('{B}'), eth0") == "made"
    assert "lladdr" not in nodes.run("a", f"ip -6 neighbour show {B}")
