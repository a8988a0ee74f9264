"""What drives hops: addresses and prefixes, lifetimes, router advertisements; plans that cannot be."""

from __future__ import annotations

from ipaddress import IPv6Network

import pytest
from terminal_network import (
    MS,
    S,
    address,
    closed,
    hop,
    outcomes,
    terminals,
    traffic,
)

from nodes import errors
from nodes.terminal.actions import RefusedAddress
from nodes.terminal.plan import Dad, HopPlan, plan_of
from nodes.terminal.plan import Kind as What

# addresses


def test_a_second_address_in_use_already_gives_way_to_the_next():
    network, a, b = terminals()
    network.service(a, b, 5000)
    refused = []

    def refuse(wanted: object) -> RefusedAddress | None:
        refused.append(wanted)
        return RefusedAddress.DUPLICATE if len(refused) == 1 else None

    a.refuse = refuse
    hop(a)
    network.run(S)
    assert len(refused) == 2
    assert outcomes(a) == {"hopped": 1}
    assert a.of("hop.address-refused")[0]["reason"] == "duplicate"


def test_second_addresses_that_are_all_in_use_fail_the_hop_and_the_service_stays():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    a.refuse = lambda wanted: RefusedAddress.DUPLICATE
    first = a.current
    hop(a)
    network.run(S)
    assert "in use already" in a.of("hop.failed")[0]["reason"]
    assert a.out(flows[0]).local.address == first == a.current


def test_a_prefix_that_is_not_on_the_link_fails_the_hop_at_once():
    network, a, b = terminals()
    network.service(a, b, 5000)
    a.refuse = lambda wanted: RefusedAddress.NOT_ON_LINK
    plan = plan_of({"first": str(a.current), "kind": "prefix", "prefixes": ["fd00:9::/64"]})
    a.tell(lambda now: a.core.hop(now, plan)[1])
    network.run(S)
    assert "not on the link" in a.of("hop.failed")[0]["reason"]


def test_an_exhausted_pool_is_told_and_the_service_stays():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    plan = plan_of({"first": str(a.current), "period": 50 * MS, "pool": 2})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(3 * S)
    assert len(a.of("hop.closed")) == 2
    assert [data["reason"] for data in a.of("hop.failed")] == ["the pool of second addresses is exhausted"]
    assert a.out(flows[0]).local.address == a.current


TWO_PREFIXES = {"kind": "prefix", "prefixes": ["fd00:2::/64", "fd00:3::/64"]}


@pytest.mark.parametrize("driven_by", [{"period": 50 * MS}, {"preferred": 1, "valid": 2}])
def test_a_hop_waits_for_an_address_that_the_hop_before_it_still_holds(driven_by):
    network, a, b = terminals(rtt=150 * MS)
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 10 * S)
    plan = plan_of({"first": str(a.current), "hops": 6, **driven_by, **TWO_PREFIXES})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(15 * S)
    assert not a.of("hop.failed")
    assert a.of("hop.late")
    assert outcomes(a) == {"hopped": 6}
    assert a.of("hops.done") == [{"hops": 6}]
    assert not network.lost


def test_hops_by_hand_wait_for_an_address_that_the_hop_before_them_still_holds():
    network, a, b = terminals(rtt=150 * MS)
    network.service(a, b, 5000)
    plan = plan_of({"first": str(a.current), **TWO_PREFIXES})
    for _ in range(4):
        a.tell(lambda now: a.core.hop(now, plan)[1])
    network.run(10 * S)
    assert not a.of("hop.failed")
    assert [data["hop"] for data in a.of("hop.closed")] == [1, 2, 3, 4]


def test_a_hop_waits_for_an_address_that_only_an_ended_service_bears():
    network, a, b = terminals()
    network.service(a, b, 5000)
    plan = plan_of({"first": str(a.current), "period": 100 * MS, "hops": 4, **TWO_PREFIXES})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run_until(closed(a))
    on_the_second, _ = network.service(a, b, 5001)
    network.run_until(closed(a, 2))
    network.end(a, on_the_second)
    network.run(5 * S)
    assert not a.of("hop.failed")
    assert [data["hop"] for data in a.of("hop.late")] == [3]
    assert a.of("hops.done")


def test_an_address_that_a_running_service_bears_is_not_waited_for():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    plan = plan_of({"first": str(a.current), "period": 100 * MS, "hops": 4, **TWO_PREFIXES})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run_until(closed(a))
    network.service(a, b, 5001)
    network.run(5 * S)
    assert [data["hop"] for data in a.of("hop.failed")] == [3]
    assert a.out(flows[0]).local.address == a.current == address("fd00:3::a")


def test_a_pool_whose_addresses_stay_in_use_when_no_hop_is_under_way_fails_the_hop():
    network, a, b = terminals()
    network.service(a, b, 5000)
    plan = plan_of(
        {"first": str(a.current), "period": 50 * MS, "kind": "prefix", "prefixes": ["fd00:2::/64"]}
    )
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(3 * S)
    assert len(a.of("hop.closed")) == 1
    assert [data["reason"] for data in a.of("hop.failed")] == ["every second address of the pool is in use"]


def test_a_restart_while_the_second_address_is_being_added_begins_no_other_hop():
    network, a, b = terminals()
    network.service(a, b, 5000)
    a.add_delay = 500 * MS
    plan = plan_of({"first": str(a.current), "preferred": 1, "valid": 3, "hops": 3})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run_until(lambda: bool(a.of("hop.started")))
    a.kill()
    a.restart()
    network.run(10 * S)
    assert [data["hop"] for data in a.of("hop.started")] == [1, 2, 3]
    assert outcomes(a) == {"hopped": 3}


def test_a_second_address_that_disappears_leaves_the_service_on_the_first():
    network, a, b = terminals(rtt=40 * MS)
    flows = network.service(a, b, 5000)
    first = a.current
    hop(a)
    network.run(50 * MS)
    second = a.current
    a.addresses.pop(second)
    a.tell(lambda now: a.core.address_expired(second, now))
    network.run(5 * S)
    assert a.out(flows[0]).local.address == first
    assert outcomes(a) == {"refused": 1}


@pytest.mark.parametrize("kind", ["prefix", "both"])
def test_prefixes_hop(kind):
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 2 * S)
    prefixes = {"kind": kind, "prefixes": ["fd00:2::/60"]}
    plan = plan_of({"first": str(a.current), "period": 100 * MS, "hops": 10, **prefixes})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(5 * S)
    assert outcomes(a) == {"hopped": 10}
    assert not network.lost
    assert a.current in IPv6Network("fd00:2::/60")


# lifetimes


def test_the_kernels_lifetimes_drive_the_hops():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 15 * S)
    plan = plan_of({"first": str(a.current), "preferred": 2, "valid": 4, "hops": 4})
    began = network.now
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(25 * S)
    assert outcomes(a) == {"hopped": 4}
    assert not network.lost
    asked = [(time - began) / S for time, kind, _ in a.events if kind == "hop.asked"]
    switched = [(time - began) / S for time, kind, _ in a.events if kind == "hop.switched"]
    assert asked == pytest.approx([2, 4, 6, 8], abs=0.1)
    assert switched == pytest.approx([4, 6, 8, 10], abs=0.1)
    assert a.of("hops.done")


def test_a_service_is_not_switched_before_the_first_address_expires():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    first = a.current
    plan = plan_of({"first": str(first), "preferred": 2, "valid": 4, "hops": 1})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(3900 * MS)
    assert a.of("hop.prepared")
    assert a.out(flows[0]).local.address == first
    network.run(S)
    assert a.out(flows[0]).local.address != first


def test_an_address_that_expires_before_the_partner_answers_is_kept_until_it_does():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 8 * S)
    plan = plan_of({"first": str(a.current), "preferred": 2, "valid": 3, "hops": 1})
    first = a.current
    network.lose = lambda sent: network.now < 1_000 * S + 2_800 * MS
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(10 * S)
    assert outcomes(a) == {"hopped": 1}
    assert not network.lost
    assert first in a.retired


def test_a_router_that_changes_its_prefix_drives_the_hops():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 5 * S)
    first = a.current
    a.tell(lambda now: a.core.schedule(HopPlan(first=first, kind=What.RA), now))

    def offer(wanted: str) -> None:
        a.addresses[address(wanted)] = {}
        a.tell(
            lambda now: a.core.address_added(
                address(wanted), now, preferred=1800 * S, valid=3600 * S, advertised=True
            )
        )

    a.tell(lambda now: a.core.address_deprecated(first, now))  # the new prefix's address is still tentative
    network.run(S)
    offer("fd00:7::a")
    network.run(S)
    assert a.out(flows[0]).local.address == address("fd00:7::a")
    offer("fd00:8::a")
    network.run(S)
    assert a.out(flows[0]).local.address == address("fd00:7::a")
    a.tell(lambda now: a.core.address_deprecated(address("fd00:7::a"), now))
    network.run(S)
    assert a.out(flows[0]).local.address == address("fd00:8::a")
    assert outcomes(a) == {"hopped": 2}
    assert not network.lost


# plans


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"period": 5 * MS}, "shorter than a hop can take"),
        ({"period": S, "dad": "full"}, "shorter than a hop can take"),
        ({"preferred": 4, "valid": 4}, "leave 0 s for a hop"),
        ({"preferred": 2, "valid": 4, "dad": "full"}, "leave 2 s for a hop"),
        ({"preferred": 2}, "go together"),
        ({"period": S, "preferred": 2, "valid": 4}, "not both"),
        ({"period": S, "kind": "ra"}, "advertisements drive"),
        ({"period": 100 * MS, "jitter": 100 * MS}, "jitter"),
        ({"kind": "prefix"}, "needs prefixes"),
        ({"prefixes": ["fd00:2::/64"]}, "takes no prefixes"),
        ({"kind": "prefix", "prefixes": ["fd00:2::/65"]}, "longer than 64"),
        ({"kind": "prefix", "prefixes": ["fe80::/64"]}, "no prefix of unicast"),
        ({"first": "ff02::1"}, "no unicast address"),
        ({"first": "nonsense"}, "nonsense"),
        ({"colour": "red"}, "colour"),
        ({"hops": 0}, "hops"),
    ],
)
def test_a_plan_that_cannot_be_is_one_clear_error(settings, said):
    with pytest.raises(errors.ParameterError, match=said):
        plan_of({"first": "fd00:1::a", **settings})


def test_a_schedule_that_nothing_drives_is_refused():
    _, a, _ = terminals()
    with pytest.raises(errors.ParameterError, match="nothing drives them"):
        a.core.schedule(HopPlan(first=a.current), 0)


def test_a_hop_by_hand_without_a_plan_is_refused():
    _, a, _ = terminals()
    with pytest.raises(errors.ParameterError, match="no schedule to hop by"):
        a.core.hop(0)


def test_a_secret_that_is_too_short_is_refused():
    _, a, _ = terminals()
    with pytest.raises(errors.ParameterError, match="at least 16 octets"):
        a.core.pair("c", b"short", [])


def test_stop_lets_the_hop_under_way_end_and_begins_no_other():
    network, a, b = terminals()
    network.service(a, b, 5000)
    plan = plan_of({"first": str(a.current), "period": 50 * MS})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(55 * MS)
    a.tell(a.core.stop)
    network.run(S)
    assert len(a.of("hop.started")) == len(a.of("hop.closed")) == 1


def test_a_stop_while_the_second_address_is_being_added_ends_the_hop_all_the_same():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    a.add_delay = 500 * MS
    plan = plan_of({"first": str(a.current), "period": 50 * MS, "dad": Dad.OPTIMISTIC})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(100 * MS)
    a.tell(a.core.stop)
    network.run(3 * S)
    assert len(a.of("hop.closed")) == 1
    assert a.out(flows[0]).local.address == a.current
