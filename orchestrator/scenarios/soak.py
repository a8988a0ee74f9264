"""The scenario ``soak``: hops, rekeys, failures and faults all at once, for as long as asked; nothing grows.

Three stories beside each other: a terminal's address hops under traffic; two tunnels, of strongSwan's and of
ours, are rekeyed under traffic while their messages are lost, late and doubled on the wire; and a sender goes
on with a negotiation that cannot succeed, both of whose sides fall silent for a time after each failure.
Meanwhile every process of the run and every node's kernel are looked at.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
from pydantic import Field

from nodes import errors
from nodes.peer.model import Rekey, Rekeyed, Terminate
from orchestrator import tunnel
from orchestrator.breaking import CONNECTION as TRIED
from orchestrator.breaking import Breakage, Kind
from orchestrator.evidence.verdict import Check
from orchestrator.resources.flatness import flatness
from orchestrator.resources.sampling import sampled
from orchestrator.resources.series import series_of
from orchestrator.retrying import Retrying
from orchestrator.scenarios import address_hop_evidence as hop_evidence
from orchestrator.scenarios import address_hop_flows as hop_probes
from orchestrator.scenarios import address_hop_link as link
from orchestrator.scenarios import address_hop_story as story
from orchestrator.scenarios import tunnel_between_peers as between
from orchestrator.scenarios.address_hop_nodes import HOST, MOVING, TERMINAL
from orchestrator.scenarios.address_hop_parameters import AddressHopScenario
from orchestrator.scenarios.rekey import rekey_once
from orchestrator.scenarios.scenario import Parameters, Scenario
from orchestrator.scenarios.stage import Stage
from orchestrator.tasks import background

PEERS = (between.INITIATOR, between.RESPONDER)
ENDPOINTS = ("endpoint", "endpoint-b")
FAILING = (between.INITIATOR, "endpoint-b")
"""The sender that never succeeds, and its receiver: one of each kind."""
FAULTS = (
    "drop create-child-sa 1 from peer-b always",
    "duplicate create-child-sa 2 from peer-b always",
    "delay create-child-sa 1 from peer-a by 20ms always",
    "drop quick-mode 3 from endpoint always",
    "duplicate quick-mode 1 from endpoint always",
    "delay quick-mode 2 from endpoint-b by 20ms always",
    "corrupt main-mode 4 from endpoint-b occurrence 2 octet 60",
)
"""What happens to each rekey, but to retransmissions; the last one strikes one failing negotiation."""
_TIMERS = {"retransmit_timeout": 1.0, "retransmit_base": 1.3, "retransmit_tries": 4}
_SETTLED = 30.0
_SNAPLEN = 160
"""Octets of each packet in the captures: all of a probe's headers, and of IKE what the ladder shows."""


class Soak(Parameters):
    """The parameters of ``soak``."""

    minutes: Annotated[float, Field(gt=0, le=1440, description="how long it goes on")] = 30.0
    every: Annotated[
        float, Field(ge=0.1, le=60, description="seconds from one hop, and from one rekey, to the next")
    ] = 1.0
    inactive: Annotated[
        float, Field(ge=0.5, le=600, description="seconds for which both sides are inactive after a failure")
    ] = 2.0
    look: Annotated[float, Field(ge=0.2, le=600, description="seconds from one sample to the next")] = 5.0
    rate: Annotated[int, Field(ge=10, le=10_000, description="UDP probes per second on each flow")] = 50
    tcp_rate: Annotated[int, Field(ge=10, le=10_000, description="TCP records per second on each")] = 10

    @property
    def seconds(self) -> float:
        """How long it goes on."""
        return self.minutes * 60

    @property
    def hopping(self) -> AddressHopScenario:
        """What the terminals are told; hops go on until they are stopped."""
        return AddressHopScenario(kind="both", period=self.every, rate=self.rate, tcp_rate=self.tcp_rate)


def settings(parameters: Soak) -> dict[str, dict[str, Any]]:
    """Both ends of the failing negotiation handle abnormality; charon gives up soon."""
    times = {"t1": parameters.inactive, "t2": parameters.inactive}
    handling = {"abnormality": {"handling": "on", **times}}
    told: dict[str, dict[str, Any]] = {name: {**_TIMERS} for name in (*PEERS, *ENDPOINTS)}
    for name in FAILING:
        told[name] |= handling
    return told


async def play(stage: Stage, parameters: Soak) -> None:
    """Let everything go on at the same time, then judge what it came to."""
    await _Play(stage, parameters).play()


class _Play:
    def __init__(self, stage: Stage, parameters: Soak) -> None:
        self._stage, self._parameters = stage, parameters
        self._bed, self._events = stage.bed, stage.bed.events
        self._rekeys = dict.fromkeys((PEERS, ENDPOINTS), 0)
        self._retrying = Retrying(
            self._bed.node(FAILING[0]).tunnel_end, FAILING[0], TRIED, parameters.every, self._events
        )

    async def play(self) -> None:
        parameters, stage = self._parameters, self._stage
        await self._tunnels()
        await link.prepare(self._bed, [self._bed.node(name) for name in (MOVING, TERMINAL, HOST)])
        await story.pair(stage, parameters.hopping)
        await stage.begin_faults()
        if stage.fault_engine is not None:
            await stage.fault_engine.add(*FAULTS)
        async with sampled(self._bed, parameters.look), self._traffic():
            async with self._failing(), self._hopping(), background() as tasks:
                tasks.start_soon(self._rekeying, PEERS)
                tasks.start_soon(self._rekeying, ENDPOINTS)
                await anyio.sleep(parameters.seconds)  # what the scenario lasts, not a wait for something
            await anyio.sleep(parameters.every)  # and traffic after the last hop and rekey
        for check in (
            *self._happened(),
            *hop_probes.loss_checks(stage.flows),
            *flatness(series_of(self._events.past)),
        ):
            stage.add(check)

    async def _tunnels(self) -> None:
        """Establish the tunnel of the peers by IKEv2, and that of the endpoints by IKEv1."""
        await between.establish(
            self._stage,
            between.TunnelParameters(),
            tunnel.Settings(child_rekey_time=0, ike_rekey_time=0),
        )
        plan = self._bed.plan
        both = tunnel.tunnel(
            plan,
            *ENDPOINTS,
            tunnel.credentials(plan, ENDPOINTS, "psk"),
            tunnel.Settings(version=1, child_rekey_time=0, ike_rekey_time=0),
        )
        initiator, responder = (self._bed.node(name).endpoint for name in ENDPOINTS)
        await responder.load(tunnel.at_endpoint(both.responder, timing="early", esp_trigger=True))
        await initiator.load(both.initiator)
        since = len(self._events.past)
        await initiator.initiate(tunnel.CONNECTION, tunnel.CHILD)
        await self._events.wait_for("child-sa.installed", node=ENDPOINTS[1], since=since, timeout=_SETTLED)

    @asynccontextmanager
    async def _traffic(self) -> AsyncIterator[None]:
        stage, parameters = self._stage, self._parameters
        first = self._bed.plan.node(MOVING).address.ip
        hopping = hop_probes.specs(self._bed.plan, parameters.hopping, MOVING, TERMINAL, first)
        through = between.probes(stage, parameters, ends=PEERS, suffix="-peers")
        through += between.probes(stage, parameters, ends=ENDPOINTS, suffix="-endpoints")
        async with stage.traffic([*hopping, *through]):
            yield

    @asynccontextmanager
    async def _hopping(self) -> AsyncIterator[None]:
        """A terminal hops until the context's end; the hop that is then under way is closed after it."""
        terminal = self._bed.node(MOVING).terminal
        plan = self._bed.plan
        schedule = story.schedule_of(
            self._stage, self._parameters.hopping, plan.node(MOVING).address.ip, without_end=True
        )
        await terminal.schedule(schedule)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(_SETTLED):
                await terminal.stop()

    @asynccontextmanager
    async def _failing(self) -> AsyncIterator[None]:
        """A sender whose secret is not its receiver's tries again and again."""
        agreed = tunnel.Settings(version=1, child_rekey_time=0, ike_rekey_time=0)
        breakage = Breakage.of(self._bed.plan, *FAILING, Kind.PSK, agreed)
        async with breakage.in_force(self._bed), background() as tasks:
            tasks.start_soon(self._retrying.run)
            yield

    async def _rekeying(self, ends: tuple[str, str]) -> None:
        """Rekey one tunnel, alternately from each side of strongSwan's, for as long as this goes on."""
        old: list[Rekeyed] = []
        while True:
            await anyio.sleep(self._parameters.every)  # the schedule of the scenario
            if ends == PEERS:
                await rekey_once(self._stage, by=ends[self._rekeys[ends] % 2])
            else:
                old = await self._rekey_endpoint(old)
            self._rekeys[ends] += 1

    async def _rekey_endpoint(self, old: Sequence[Rekeyed]) -> list[Rekeyed]:
        """Rekey, wait until the responder sends under the new SA, and delete the SA before the last one."""
        since = len(self._events.past)
        initiator = self._bed.node(ENDPOINTS[0]).endpoint
        new = await initiator.rekey(Rekey(connection=tunnel.CONNECTION, child=tunnel.CHILD))
        await self._events.wait_for(
            "child-sa.effective",
            node=ENDPOINTS[1],
            where=lambda event: event.data.get("new", event.data).get("spi_in") == new.new_spis[1],
            since=since,
            timeout=_SETTLED,
        )
        for one in old:
            with contextlib.suppress(errors.ParameterError):  # it went by itself
                await initiator.terminate(Terminate(child_id=one.old_id))
        return [new]

    def _happened(self) -> list[Check]:
        """Each of the stories went on to the end: at half the pace that was asked for, or faster."""
        wanted = int(self._parameters.seconds / self._parameters.every / 4)
        closed = len(hop_evidence.closed(self._events.past, MOVING))
        failed = hop_evidence.failures(self._events.past)
        checks = [
            Check.of(
                "hops",
                expected=f"at least {wanted}, and none failed",
                measured={"closed": closed, **failed},
                passed=closed >= wanted and not failed,
            )
        ]
        for ends, done in self._rekeys.items():
            checks.append(
                Check.of(
                    f"rekeys of {' and '.join(ends)}",
                    expected=f"at least {wanted}",
                    measured=str(done),
                    passed=done >= wanted,
                )
            )
        retrying = self._retrying
        failures = sum(retrying.failures.values())
        checks.append(
            Check.of(
                f"negotiations of {' with '.join(FAILING)}",
                expected="all fail",
                measured={"tries": retrying.tries, "failed": failures},
                passed=failures > 0 and not retrying.succeeded.is_set(),
            )
        )
        engine = self._stage.fault_engine
        totals = {} if engine is None else {total.text: total.matched for total in engine.totals}
        checks.append(
            Check.of(
                "faults on the wire",
                expected="each strikes",
                measured=totals,
                passed=bool(totals) and all(totals[text] for text in FAULTS),
            )
        )
        return checks


SCENARIO = Scenario(
    name="soak",
    summary="hops, rekeys, failures and faults all at once, for as long as asked; nothing may grow",
    nodes=(MOVING, TERMINAL, *PEERS, *ENDPOINTS, HOST),
    ends=PEERS,
    parameters=Soak,
    play=play,
    settings=settings,
    snaplen=_SNAPLEN,
)
