"""Second addresses, plans' times, and policies."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import errors
from nodes.terminal.actions import ICMPV6, TCP, UDP, Endpoint, Flow, Service
from nodes.terminal.message import Capability
from nodes.terminal.plan import NS_PER_MS, HopPlan, Kind, capability, plan_of
from nodes.terminal.policy import Policy, PolicyRule, policy_of
from nodes.terminal.second_addresses import STORED, SecondAddresses

FIRST = IPv6Address("fd00:1::a")
KEY = bytes(32)


def pool(kind: Kind = Kind.INTERFACE_ID, *prefixes: str, **given: object) -> SecondAddresses:
    plan = HopPlan(first=FIRST, kind=kind, prefixes=tuple(map(IPv6Network, prefixes)), **given)  # type: ignore[arg-type]
    return SecondAddresses(plan, KEY, "eth0")


def several(
    addresses: SecondAddresses, count: int, in_use: set[IPv6Address] | None = None
) -> list[IPv6Address]:
    found = [addresses.take(FIRST, in_use or set()) for _ in range(count)]
    return [one for one in found if one is not None]


def prefix(one: IPv6Address) -> int:
    return int(one) >> 64


def interface_id(one: IPv6Address) -> int:
    return int(one) & (1 << 64) - 1


def test_addresses_are_stored_before_they_are_needed():
    addresses = pool()
    stored = addresses.stored
    assert len(stored) == STORED
    assert several(addresses, STORED) == list(stored)


def test_an_interface_id_hop_keeps_the_prefix_and_never_repeats():
    found = several(pool(), 1000)
    assert {prefix(one) for one in found} == {prefix(FIRST)}
    assert len({interface_id(one) for one in found}) == 1000


def test_a_prefix_hop_keeps_the_interface_id_and_takes_each_subnet_once():
    found = several(pool(Kind.PREFIX, "fd00:2::/59"), 32)
    assert {interface_id(one) for one in found} == {interface_id(FIRST)}
    assert len({prefix(one) for one in found}) == 32
    assert all(one in IPv6Network("fd00:2::/59") for one in found)


def test_whole_prefixes_are_taken_in_turn():
    found = several(pool(Kind.PREFIX, "fd00:2::/64", "fd00:3::/64", "fd00:4::/64"), 3)
    assert [str(one) for one in found] == ["fd00:2::a", "fd00:3::a", "fd00:4::a"]


def test_both_change_together():
    found = several(pool(Kind.BOTH, "fd00:2::/64", "fd00:3::/64"), 40)
    assert len({interface_id(one) for one in found}) == 40
    assert {prefix(one) for one in found} == {
        prefix(IPv6Address("fd00:2::")),
        prefix(IPv6Address("fd00:3::")),
    }


def test_the_sequence_is_the_keys():
    plan = HopPlan(first=FIRST)
    assert SecondAddresses(plan, KEY, "eth0").stored == SecondAddresses(plan, KEY, "eth0").stored
    assert set(SecondAddresses(plan, KEY, "eth0").stored).isdisjoint(
        SecondAddresses(plan, b"x" * 32, "eth0").stored
    )
    assert set(SecondAddresses(plan, KEY, "eth0").stored).isdisjoint(
        SecondAddresses(plan, KEY, "eth1").stored
    )


def test_a_restart_goes_on_in_the_sequence():
    whole = several(pool(), 10)
    assert several(SecondAddresses(HopPlan(first=FIRST), KEY, "eth0", taken=4), 6) == whole[4:]


def test_an_address_that_is_in_use_is_passed_over():
    whole = several(pool(), 3)
    assert pool().take(FIRST, {whole[0]}) == whole[1]


def test_a_pool_of_so_many_is_exhausted_after_them():
    assert len(several(pool(pool=20), 25)) == 20


def test_a_prefix_pool_whose_addresses_are_all_in_use_is_exhausted():
    addresses = pool(Kind.PREFIX, "fd00:2::/64")
    assert addresses.take(FIRST, set()) == IPv6Address("fd00:2::a")
    assert addresses.take(IPv6Address("fd00:2::a"), {IPv6Address("fd00:2::a")}) is None


def test_asking_in_vain_takes_nothing_out_of_a_pool():
    addresses = pool(Kind.PREFIX, "fd00:2::/64", pool=3)
    for _ in range(10):
        assert addresses.take(FIRST, {IPv6Address("fd00:2::a")}) is None
    assert len(several(addresses, 5)) == 3


def test_a_routers_addresses_are_taken_as_they_are_offered():
    addresses = pool(Kind.RA)
    assert addresses.take(FIRST, set()) is None
    addresses.offer(IPv6Address("fd00:5::1"))
    addresses.offer(IPv6Address("fd00:6::1"))
    addresses.withdraw(IPv6Address("fd00:5::1"))
    assert several(addresses, 2) == [IPv6Address("fd00:6::1")]


@given(st.integers(0, 60).map(lambda bits: 64 - bits), st.integers(0, 1 << 20))
def test_subnets_of_any_prefix_are_in_it(length, skip):
    network = IPv6Network((IPv6Address("fc00::"), max(length, 8)))
    plan = HopPlan(first=FIRST, kind=Kind.PREFIX, prefixes=(network,))
    for one in SecondAddresses(plan, KEY, "eth0", taken=skip).stored:
        assert one in network


# plans


def test_slots_do_not_drift_and_the_jitter_is_bounded():
    plan = plan_of({"first": "fd00::1", "period": 50 * NS_PER_MS, "jitter": 10 * NS_PER_MS})
    slots = [plan.slot(number, 1000, Random(number)) for number in range(200)]
    assert all(0 <= slot - 1000 - number * plan.period <= plan.jitter for number, slot in enumerate(slots))
    assert len({slot - 1000 - number * plan.period for number, slot in enumerate(slots)}) > 150


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ("fd00:1::b", Capability.INTERFACE_ID),
        ("fd00:2::a", Capability.PREFIX),
        ("fd00:2::b", Capability.PREFIX | Capability.INTERFACE_ID),
        ("fd00:1::a", Capability.NONE),
    ],
)
def test_the_capability_says_what_differs(second, expected):
    assert capability(FIRST, IPv6Address(second)) == expected


# policies


def service(protocol: int = TCP, local: int = 40000, remote: int = 443, **given: object) -> Service:
    flow = Flow(protocol, Endpoint(FIRST, local), Endpoint(IPv6Address("fd00:1::b"), remote))
    return Service(flow=flow, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "matching", "other"),
    [
        ({"protocol": "tcp"}, service(TCP), service(UDP)),
        ({"protocol": "icmpv6"}, service(ICMPV6), service(TCP)),
        ({"port": 443}, service(remote=443), service(remote=80)),
        ({"port": 443}, service(local=443, remote=9), service(remote=80)),
        ({"ports": (100, 200)}, service(remote=200), service(remote=201)),
        ({"uid": 0}, service(uid=0), service(uid=1000)),
        ({"uid": 0}, service(uid=0), service()),
        ({"process": "curl"}, service(process="curl"), service(process="ssh")),
        ({"process": "curl"}, service(process="curl"), service()),
    ],
)
def test_a_rule_is_about_protocol_port_and_owner(rule, matching, other):
    policy = Policy(rules=(PolicyRule(supported=False, **rule),))
    assert not policy.supports(matching)
    assert policy.supports(other)


def test_the_first_rule_that_matches_decides():
    rules = (PolicyRule(supported=True, port=443), PolicyRule(supported=False, protocol="tcp"))
    policy = Policy(rules=rules, otherwise=False)
    assert policy.supports(service(TCP, remote=443))
    assert not policy.supports(service(TCP, remote=80))
    assert not policy.supports(service(UDP, remote=80))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({}, "supported"),
        ({"supported": True, "port": 70000}, "65535"),
        ({"supported": True, "port": 1, "ports": [1, 2]}, "not both"),
        ({"supported": True, "ports": [3, 2]}, "empty"),
        ({"supported": True, "colour": "red"}, "colour"),
    ],
)
def test_a_rule_that_is_none_is_one_clear_error(rule, said):
    with pytest.raises(errors.ParameterError, match=said):
        policy_of([rule])
