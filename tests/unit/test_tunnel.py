"""A tunnel between two nodes of a plan, as the two connections to load."""

import ipaddress
from pathlib import Path

import pytest

from nodes import errors
from nodes.peer.model import Certificate, Psk
from orchestrator.topology.plan import NodePlan, RoleName, RunPlan
from orchestrator.tunnel import Settings, credentials, tunnel

ENDS = ("peer-a", "peer-b")


def node(name, number, inner=None, role=RoleName.PEER):
    return NodePlan(
        name=name,
        role=role,
        address=ipaddress.IPv6Interface(f"fd00::{number}/64"),
        inner=None if inner is None else ipaddress.IPv6Network(inner),
    )


PLAN = RunPlan(
    run_id="0123abcd",
    network=ipaddress.IPv6Network("fd00::/64"),
    nodes=(
        node("peer-a", 1, "fd0a::/64"),
        node("peer-b", 2, "fd0b::/64"),
        node("host", 3, role=RoleName.HOST),
    ),
    owner=0,
    log_dir=None,
    compose_file=Path("compose.yaml"),
)


def made(auth="psk", **settings):
    return tunnel(PLAN, *ENDS, credentials(PLAN, ENDS, auth), Settings(**settings))


def test_the_ends_mirror_each_other():
    ends = made()
    near, far = ends.initiator, ends.responder
    assert (near.local, near.remote) == (far.remote, far.local)
    assert near.children[0].local_ts == far.children[0].remote_ts == ("fd0a::/64",)
    assert near.children[0].remote_ts == far.children[0].local_ts == ("fd0b::/64",)
    assert (near.name, near.children[0].name) == (far.name, far.children[0].name)


def test_each_end_is_known_by_its_address():
    assert made().initiator.local.identity == "fd00::1"
    assert made().responder.local.identity == "fd00::2"


def test_a_pre_shared_key_is_one_for_both_and_new_every_time():
    one, other = made(), made()
    assert isinstance(one.initiator.auth, Psk)
    assert one.initiator.auth == one.responder.auth != other.initiator.auth


def test_certificates_are_each_ends_own_under_one_ca():
    ends = made("cert")
    near, far = ends.initiator.auth, ends.responder.auth
    assert isinstance(near, Certificate)
    assert isinstance(far, Certificate)
    assert near.ca == far.ca
    assert near.key != far.key


@pytest.mark.parametrize("version", [1, 2])
def test_both_ends_speak_the_version(version):
    ends = made(version=version)
    assert ends.initiator.version == ends.responder.version == version


def test_pfs_is_off_unless_it_is_asked_for():
    assert made().initiator.children[0].pfs is None
    assert made(pfs=True).initiator.children[0].pfs == "ecp256"


def test_lifetimes_reach_both_ends():
    for end in (made(child_rekey_time=30, child_life_time=40, ike_rekey_time=600),):
        for connection in (end.initiator, end.responder):
            assert (connection.children[0].rekey_time, connection.children[0].life_time) == (30, 40)
            assert connection.rekey_time == 600


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"version": 3}, r"\$.version"),
        ({"child_rekey_time": -1}, r"\$.children\[0\].rekey_time"),
        ({"child_rekey_time": 60, "child_life_time": 30}, "life_time must be longer"),
    ],
)
def test_a_setting_out_of_range_is_a_parameter_error_that_names_it(settings, why):
    with pytest.raises(errors.ParameterError, match=why):
        made(**settings)


@pytest.mark.parametrize(
    ("ends", "why"),
    [
        (("peer-a", "host"), "host is no tunnel's end"),
        (("peer-a", "peer-a"), "cannot have a tunnel to itself"),
    ],
)
def test_nodes_that_cannot_have_a_tunnel_are_a_usage_error(ends, why):
    with pytest.raises(errors.UsageError, match=why):
        tunnel(PLAN, *ends, credentials(PLAN, ENDS, "psk"))
