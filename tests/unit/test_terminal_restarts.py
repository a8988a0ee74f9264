"""A terminal whose daemon dies, or has no processor for a while, takes its hops up again."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from terminal_network import (
    MS,
    SECRET,
    S,
    hop,
    outcomes,
    terminals,
    traffic,
)

from nodes import errors
from nodes.terminal.actions import Carriage
from nodes.terminal.core import Terminal
from nodes.terminal.message import decode
from nodes.terminal.plan import plan_of
from nodes.terminal.settings import Settings


@pytest.mark.parametrize("after_ms", range(0, 60, 4))
@pytest.mark.parametrize("who", ["a", "b"])
def test_an_agent_that_is_killed_in_the_middle_of_a_hop_takes_it_up_again(who, after_ms):
    network, a, b = terminals(rtt=10 * MS)
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 2 * S)
    node = network.nodes[who]
    hop(a)
    network.run(after_ms * MS)
    node.kill()
    network.run(100 * MS)
    node.restart()
    network.run(5 * S)
    assert not network.lost
    assert outcomes(a) == {"hopped": 1}
    assert a.out(flows[0]).local.address == b.out(flows[1]).remote.address == a.current
    assert len(a.addresses) == 1


@pytest.mark.parametrize("who", ["a", "b"])
def test_what_was_decided_and_not_carried_out_when_the_agent_was_killed_is_carried_out_by_the_next_one(who):
    """Killed before each action of three hops in turn: nothing is left of the addresses that were left."""
    killed = itertools.count(1)
    while True:
        network, a, b = terminals(rtt=10 * MS)
        flows = network.service(a, b, 5000)
        traffic(network, a, b, flows, 2 * S)
        node = network.nodes[who]
        due = next(killed)
        actions = itertools.count(1)
        node.dies = lambda _, due=due, actions=actions: next(actions) == due
        left = [a.current]
        for _ in range(3):
            hop(a)
            network.run(200 * MS)
            if not node.alive:
                node.restart()
            network.run(2 * S)
            left.append(a.current)
        if next(actions) <= due:
            return
        assert not network.lost
        assert list(a.addresses) == [left[-1]]
        assert a.identities == a.retired == {left[0]}  # the sockets bear it still
        assert set(b.retired_remotes) == set(left[:-1])


def test_an_address_that_is_retired_is_not_deprecated_again():
    """The kernel would add it again, and nothing would take it away."""
    network, a, b = terminals(rtt=10 * MS)
    network.service(a, b, 5000)
    first = a.current
    hop(a)
    network.run_until(lambda: first in a.retired)
    a.kill()
    assert not a.of("hop.closed")
    a.restart()
    assert a.deprecated == [first]  # by the hop's beginning alone
    network.run(5 * S)
    assert list(a.addresses) == [a.current]


@pytest.mark.parametrize("phase", ["asked", "answered", "prepared", "switched"])
def test_time_that_passed_while_nobody_listened_is_no_silence_of_the_partner(phase):
    network, a, b = terminals(rtt=10 * MS)
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 8 * S)
    hop(a)
    network.run_until(lambda: bool(a.of(f"hop.{phase}")))
    a.kill()
    network.run(4 * S)
    a.restart()
    network.run(6 * S)
    assert outcomes(a) == {"hopped": 1}
    assert not network.lost


@pytest.mark.parametrize("after_ms", range(0, 60, 2))
@pytest.mark.parametrize("who", ["a", "b"])
def test_time_without_a_processor_is_no_silence_of_the_partner(who, after_ms):
    """The clock says that the time is over before the answers are read that came meanwhile."""
    network, a, b = terminals(rtt=10 * MS)
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 5 * S)
    hop(a)
    network.run(after_ms * MS)
    network.nodes[who].stall(3 * S if who == "a" else S // 2)
    network.run(20 * S)  # twice the longest round trip, and that was the stall
    assert outcomes(a) == {"hopped": 1}
    assert not network.lost


def test_after_a_restart_no_sequence_number_comes_again():
    network, a, b = terminals(rtt=100 * MS)
    network.service(a, b, 5000)
    hop(a)
    network.run(30 * MS)
    old = a.on_snapshot
    network.run(30 * MS)
    a.kill()
    a.on_snapshot = old  # what was written last was lost
    a.restart()
    network.run(3 * S)
    messages = [(sent.source, decode(sent.message)) for sent in network.sent]
    numbers = [(source, message.context, message.sequence) for source, message in messages]
    assert len(numbers) == len(set(numbers))


def test_a_schedule_goes_on_after_a_restart():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 4 * S)
    plan = plan_of({"first": str(a.current), "period": 50 * MS, "hops": 20})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(310 * MS)
    a.kill()
    network.run(200 * MS)
    a.restart()
    network.run(5 * S)
    assert sum(kind == "hop.closed" for _, kind, _ in a.events) == 20
    assert not network.lost


def test_a_snapshot_holds_no_secret():
    network, a, b = terminals()
    network.service(a, b, 5000)
    hop(a)
    network.run(5 * MS)
    assert SECRET not in a.core.snapshot()
    keys = a.core._first.asking.keys(a.core._first.hops[0].exchanges[0])
    assert keys._root not in a.core.snapshot()


@pytest.mark.parametrize("octets", [b"", b"nonsense", b"\x81\xa7version\x02"])
def test_octets_that_are_no_snapshot_are_one_clear_error(octets):
    core = Terminal(octets=Random(1).randbytes, random=Random(1))
    with pytest.raises(errors.ParameterError, match="snapshot"):
        core.restore(octets, 0)


def test_a_snapshot_of_a_partner_that_is_no_longer_known_is_taken_back():
    network, a, b = terminals(rtt=20 * MS)
    flows = network.service(a, b, 5000)
    hop(a)
    network.run(70 * MS)
    a.kill()
    a.pairs.clear()
    a.restart()
    network.run(5 * S)
    assert not a.core.status()["hops"]
    assert flows[0] in a.flows


@pytest.mark.parametrize(("dead", "outcome"), [(1, "hopped"), (3, "refused"), (8, "refused")])
def test_a_schedule_by_lifetimes_goes_on_after_a_restart_that_came_when_they_were_over(dead, outcome):
    """Nobody heard the kernel's events: a service whose second address went too is kept on its first one."""
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    plan = plan_of({"first": str(a.current), "preferred": 1, "valid": 2, "hops": 4})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run_until(lambda: len(a.of("hop.prepared")) == 1)
    a.kill()
    network.run(dead * S)
    a.restart()
    network.run(20 * S)
    assert sum(kind == "hop.closed" for _, kind, _ in a.events) == 4
    assert set(outcomes(a)) == {outcome}
    assert a.out(flows[0]).local.address == b.out(flows[1]).remote.address
    assert a.out(flows[0]).local.address in a.addresses


def test_options_of_a_schedule_are_in_force_after_a_restart():
    network, a, b = terminals()
    network.service(a, b, 5000)
    a.core.configure(Settings(carriage=Carriage.UDP, option_type=0x9E))
    hop(a)
    network.run(5 * MS)
    a.kill()
    a.restart()
    assert a.core.settings == Settings(carriage=Carriage.UDP, option_type=0x9E)
    network.run(S)
    assert {sent.carriage for sent in network.sent} == {Carriage.UDP}
