"""Hops by our own mechanism, under traffic: the play of ``address-hop`` but for the comparison."""

from __future__ import annotations

import ipaddress
import secrets
from contextlib import AsyncExitStack

import anyio

from nodes.events import Event
from nodes.terminal import model
from orchestrator.delay_path import delayed_path
from orchestrator.evidence.verdict import Check
from orchestrator.scenarios import address_hop_evidence as evidence
from orchestrator.scenarios import address_hop_flows as probes
from orchestrator.scenarios import address_hop_link as link
from orchestrator.scenarios.address_hop_applications import application_checks, applications
from orchestrator.scenarios.address_hop_nodes import ALL, HOST, MOVING, hopping_nodes, partner_of
from orchestrator.scenarios.address_hop_parameters import AddressHopScenario
from orchestrator.scenarios.address_hop_router import Origin, origin
from orchestrator.scenarios.address_hop_scan import scanner
from orchestrator.scenarios.stage import Stage

OUTCOMES = {"terminal": "hopped", "legacy": "not-recognised", "refusing": "refused", "silent": "no-answer"}
"""What becomes of a service, by the partner."""

_BEFORE, _AFTER = 0.3, 0.3
_MORE_TIME = 30.0


async def play(stage: Stage, parameters: AddressHopScenario) -> None:
    """Hop under traffic, and say what it cost."""
    bed, partner = stage.bed, partner_of(parameters)
    await link.prepare(bed, [bed.node(name) for name in ALL])
    await stage.begin_faults()
    async with AsyncExitStack() as stack:
        if parameters.delay:
            delay = delayed_path(bed.runtime, partner, parameters.delay, bed.events.publish)
            stage.versions["delay path"] = await stack.enter_async_context(delay)
        await pair(stage, parameters)
        began = await stack.enter_async_context(origin(stage, parameters))
        scan = await stack.enter_async_context(scanner(stage, parameters, began.first))
        await scan.before()
        specs = probes.specs(bed.plan, parameters, MOVING, partner, began.first)
        async with stage.traffic(specs, stall_ms=probes.GAP_MS), AsyncExitStack() as clients:
            running = [
                await clients.enter_async_context(one) for one in applications(stage, parameters, began.first)
            ]
            for application in running:
                await application.begun()
            await anyio.sleep(_BEFORE)  # traffic before the first hop, so that a gap at it is seen
            if parameters.plain:
                await link.take_plain_address(bed.node(HOST), bed.plan)
            await hop(stage, parameters, began)
            await anyio.sleep(_AFTER)  # and after the last one
            for application in running:
                application.finish()
            findings = [await application.wait() for application in running]
            await scan.after()
        for name in hopping_nodes(parameters):
            await bed.node(name).terminal.stop()
    events = bed.events.past
    for name in hopping_nodes(parameters):
        stage.add(_hops_check(name, parameters, events))
        stage.add(_outcome_check(name, parameters, events))
    stage.add(_phases_check(events))
    for check in (
        *probes.loss_checks(stage.flows),
        *application_checks(findings, parameters, events),
    ):
        stage.add(check)


async def pair(stage: Stage, parameters: AddressHopScenario) -> None:
    """Give both ends their secret, and the partner its policy."""
    near, far = stage.bed.node(MOVING), stage.bed.node(partner_of(parameters))
    secret = secrets.token_urlsafe(32)
    await near.terminal.pair(model.Pair(partner=far.name, secret=secret, addresses=(far.address,)))
    if parameters.partner == "legacy":
        return
    await far.terminal.pair(model.Pair(partner=near.name, secret=secret, addresses=(near.address,)))
    if parameters.partner == "refusing":
        await far.terminal.policy(model.SetPolicy(otherwise=False))
    elif parameters.partner == "silent":
        await far.terminal.policy(model.SetPolicy(silent=True))


def schedule_of(
    stage: Stage, parameters: AddressHopScenario, first: ipaddress.IPv6Address, *, without_end: bool = False
) -> model.Schedule:
    """The schedule as the terminal is told it; ``without_end`` it hops until it is stopped."""
    prefixes = link.hop_prefixes(stage.bed.plan) if parameters.kind in ("prefix", "both") else ()
    by_router = parameters.kind == "ra"
    return model.Schedule(
        kind=parameters.kind,
        first=str(first),
        hops=None if without_end else parameters.hops,
        period=None if parameters.by_lifetimes else parameters.period,
        jitter=0.0 if parameters.by_lifetimes else parameters.jitter,
        preferred=None if by_router or parameters.preferred is None else int(parameters.preferred),
        valid=None if by_router or parameters.valid is None else int(parameters.valid),
        prefixes=tuple(str(prefix) for prefix in prefixes),
        carriage=parameters.carriage,
        option_type=int(parameters.option_type, 16),
        flow_labels=parameters.flow_labels,
        move_ports=parameters.move_ports,
    )


class _HopCount:
    """A sink that knows when each node has closed, or failed, so many hops."""

    def __init__(self, nodes: tuple[str, ...], hops: int) -> None:
        self.all = anyio.Event()
        self._left = dict.fromkeys(nodes, hops)

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if event.kind in (evidence.CLOSED, evidence.FAILED) and event.node in self._left:
            self._left[event.node] -= 1
            if all(left <= 0 for left in self._left.values()):
                self.all.set()


async def hop(stage: Stage, parameters: AddressHopScenario, began: Origin) -> None:
    """Hop as often as asked; returns when all hops are over, or when it takes far too long."""
    bed, names = stage.bed, hopping_nodes(parameters)
    count = _HopCount(names, parameters.hops)
    bed.events.add_sink(count)
    try:
        for name in names:
            own = began.first if name == MOVING else bed.plan.node(name).address.ip
            await bed.node(name).terminal.schedule(schedule_of(stage, parameters, own))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(began.follow)
            with anyio.move_on_after(parameters.hopping_seconds * 2 + _MORE_TIME):
                await count.all.wait()
            tasks.cancel_scope.cancel()
    finally:
        bed.events.remove_sink(count)


def _hops_check(name: str, parameters: AddressHopScenario, events: list[Event]) -> Check:
    done = len(evidence.closed(events, name))
    failed = evidence.failures(event for event in events if event.node == name)
    return Check.of(
        f"hops of {name}",
        expected=str(parameters.hops),
        measured={"closed": done, **failed} if failed else str(done),
        passed=done == parameters.hops and not failed,
    )


def _outcome_check(name: str, parameters: AddressHopScenario, events: list[Event]) -> Check:
    wanted = OUTCOMES[parameters.partner]
    partner = partner_of(parameters) if name == MOVING else MOVING
    by_service = evidence.outcomes_by_service(events, name, partner)
    times = sum(counts.get(wanted, 0) for counts in by_service.values())
    other = {
        service: counts for service, counts in by_service.items() if set(counts) - {wanted, "ended-before"}
    }
    return Check.of(
        f"services of {name}",
        expected=wanted,
        measured={wanted: times, "services": len(by_service), **other},
        passed=times > 0 and not other,
    )


def _phases_check(events: list[Event]) -> Check:
    phases = evidence.phases(events)
    return Check.of(
        "phases of a hop, ms from its beginning",
        expected="reported",
        measured={phase: evidence.in_words(figures) for phase, figures in phases.items()},
        passed=bool(phases),
    )
