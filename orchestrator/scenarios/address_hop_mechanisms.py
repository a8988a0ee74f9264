"""The comparison of ``address-hop``: the same traffic over four mechanisms, while the address changes alike.

A paced stream of records and a bulk transfer go from the node whose address changes. The changes come at the
same moments: the second address is there, and the first one deprecated, at each period; the first one goes
after the overlap. Times are those at which an application has the records, for every mechanism.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import msgspec

from nodes import INTERFACE
from nodes.address_changes import AddressChanges
from nodes.events import Event
from orchestrator.continuity import read_received, read_sent
from orchestrator.delay_path import delayed_path
from orchestrator.evidence.verdict import Check, Outcome
from orchestrator.flows import FlowSpec, Transport
from orchestrator.program import run_program
from orchestrator.scenarios import address_hop_evidence as evidence
from orchestrator.scenarios import address_hop_link as link
from orchestrator.scenarios import address_hop_story as story
from orchestrator.scenarios.address_hop_flows import STEADY
from orchestrator.scenarios.address_hop_nodes import ALL, MOVING, TERMINAL
from orchestrator.scenarios.address_hop_parameters import AddressHopScenario
from orchestrator.scenarios.address_hop_router import Origin
from orchestrator.scenarios.stage import Stage

STREAM, BULK = "stream", "bulk"
_TRANSPORTS = {
    "none": Transport.TCP,
    "hopbed": Transport.TCP,
    "mptcp": Transport.MPTCP,
    "quic": Transport.QUIC,
}
_STREAM_SIZE = 200
_BULK_SIZE = 2500
_BEFORE, _AFTER = 1.0, 0.5
_OVERLAP = 0.6
"""The share of a period for which the first address is still there."""
_MOST_OVERLAP = 1.0


def specs(stage: Stage, parameters: AddressHopScenario) -> list[FlowSpec]:
    """A stream of records, and a bulk transfer; and beside them a stream over TCP whose address stays."""
    assert parameters.mechanism is not None
    plan = stage.bed.plan
    found = [
        FlowSpec(
            name=name,
            source=MOVING,
            destination=TERMINAL,
            source_address=plan.node(MOVING).address.ip,
            destination_address=plan.node(TERMINAL).address.ip,
            transport=_TRANSPORTS[parameters.mechanism],
            rate=rate,
            size=size,
            congestion=parameters.congestion,
            by_packets=False,
        )
        for name, rate, size in (
            (STREAM, parameters.tcp_rate, _STREAM_SIZE),
            (BULK, max(10, parameters.bulk * 1_000_000 // (8 * _BULK_SIZE)), _BULK_SIZE),
        )
    ]
    steady = dataclasses.replace(
        found[0],
        name=f"{STEADY}{STREAM}",
        source_address=link.steady_address(plan, MOVING),
        destination_address=link.steady_address(plan, TERMINAL),
        transport=Transport.TCP,
    )
    return [*found, steady]


async def play(stage: Stage, parameters: AddressHopScenario) -> None:
    """Change the address under the traffic, and say what it cost."""
    bed = stage.bed
    await link.prepare(bed, [bed.node(name) for name in ALL])
    async with AsyncExitStack() as stack:
        if parameters.delay:
            delay = delayed_path(bed.runtime, TERMINAL, parameters.delay, bed.events.publish)
            stage.versions["delay path"] = await stack.enter_async_context(delay)
        if parameters.mechanism == "hopbed":
            await story.pair(stage, parameters)
        async with stage.traffic(specs(stage, parameters)):
            await anyio.sleep(_BEFORE)  # what the dip is measured against
            if parameters.mechanism == "hopbed":
                await story.hop(stage, parameters, Origin(bed.plan.node(MOVING).address.ip))
            else:
                async with _changes(stage, parameters) as last_change:
                    with anyio.move_on_after(parameters.hopping_seconds * 2 + 30):
                        await last_change.wait()
            await anyio.sleep(_AFTER)
    _judge(stage, parameters)


@asynccontextmanager
async def _changes(stage: Stage, parameters: AddressHopScenario) -> AsyncIterator[anyio.Event]:
    """The address changes without us; the event is set after the last one."""
    bed = stage.bed
    connections = sum(spec.transport is Transport.MPTCP for spec in specs(stage, parameters))
    if connections:
        limits = ["ip", "mptcp", "limits", "set", "subflows", "8", "add_addr_accepted", "8"]
        await bed.node(TERMINAL).exec(limits)
    first = bed.plan.node(MOVING).address
    order = AddressChanges(
        interface=INTERFACE,
        first=str(first),
        seconds=tuple(f"{address}/64" for address in _seconds(stage, parameters)),
        period=parameters.period,
        overlap=min(_OVERLAP * parameters.period, _MOST_OVERLAP),
        mptcp=connections,
    )
    argv = [*bed.runtime.python, "-m", "nodes.address_changes", msgspec.json.encode(order).decode()]
    last = anyio.Event()
    removed = 0

    def hear(said: Event) -> None:
        nonlocal removed
        bed.events.publish(msgspec.structs.replace(said, node=MOVING))
        removed += said.kind == "address.removed"
        if removed == parameters.hops:
            last.set()

    command = bed.runtime.command(MOVING, argv)
    async with run_program("the address changes", command, on_event=hear):
        yield last


def _seconds(stage: Stage, parameters: AddressHopScenario) -> list[ipaddress.IPv6Address]:
    """The addresses that follow, as the kind of the hops says."""
    first = stage.bed.plan.node(MOVING).address.ip
    prefixes = link.hop_prefixes(stage.bed.plan)
    found = []
    for number in range(parameters.hops):
        interface_id = int(first) & (1 << 64) - 1
        if parameters.kind != "prefix":
            interface_id = stage.random.getrandbits(64) & ~(1 << 57)  # not as a MAC address would make one
        prefix = prefixes[number % len(prefixes)] if parameters.kind in ("prefix", "both") else None
        base = int(first) >> 64 << 64 if prefix is None else int(prefix.network_address)
        found.append(ipaddress.IPv6Address(base | interface_id))
    return found


def _judge(stage: Stage, parameters: AddressHopScenario) -> None:
    events = stage.bed.events.past
    changed = sum(
        event.kind in (evidence.CLOSED, "address.removed") and event.node == MOVING for event in events
    )
    if parameters.mechanism == "hopbed":
        changed = len(evidence.closed(events, MOVING))
    stage.check(
        "address changes",
        expected=str(parameters.hops),
        measured=str(changed),
        passed=changed == parameters.hops,
    )
    flows = {flow.spec.name: flow for flow in stage.flows}
    used = sorted({str(flow.congestion) for flow in stage.flows})
    stage.check(
        "congestion control",
        expected=parameters.congestion,
        measured=", ".join(used),
        passed=used == [parameters.congestion],
    )
    _judge_mechanism(stage, parameters)
    if parameters.mechanism == "hopbed":
        for flow in stage.flows:
            found = flow.continuity
            stage.check(
                f"records of {flow.spec.name}",
                expected="0 lost",
                measured=f"{found.lost} of {found.sent} lost",
                passed=found.lost == 0,
            )
    bulk = flows[BULK]
    dip = evidence.dip(read_sent(bulk.sent_log), read_received(bulk.received_log), events, MOVING)
    stage.add(
        Check.of(
            "throughput dip of bulk, %",
            expected="whatever it is",
            measured=round(dip, 1),
            passed=True,
        )
    )


def _judge_mechanism(stage: Stage, parameters: AddressHopScenario) -> None:
    """The mechanism was the one that was asked for, and not what it falls back to.

    Where MPTCP had to break before it made, which a machine that is too slow brings about, its figures say
    nothing of it.
    """
    made = [event.data for event in stage.bed.events.past if event.kind == "mptcp.subflows"]
    if parameters.mechanism == "mptcp":
        whole = len(made) == parameters.hops and all(one["established"] >= one["expected"] for one in made)
        stage.add(
            Check(
                name="subflows made before the break",
                expected=f"of every connection, at {parameters.hops} changes",
                measured=[f"{one['established']} of {one['expected']}" for one in made],
                outcome=Outcome.PASS if whole else Outcome.INCONCLUSIVE,
            )
        )
    for flow in stage.flows:
        if flow.spec.transport is Transport.MPTCP:
            stage.check(
                f"{flow.spec.name} is MPTCP",
                expected="no fallback to TCP",
                measured="plain TCP" if flow.fallback else "MPTCP",
                passed=flow.fallback is False,
            )
        elif flow.spec.transport is Transport.QUIC:
            stage.check(
                f"{flow.spec.name} migrated",
                expected=str(parameters.hops),
                measured=str(flow.migrations),
                passed=flow.migrations == parameters.hops,
            )
