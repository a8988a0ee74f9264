"""The scenario ``sa-negotiation``: an IKEv1 Quick Mode under traffic, by stock timing or by early timing.

The responder of a stock IKEv1 installs its SA on the third message. If that is lost or late, what the
initiator sends meanwhile is lost. The early responder installs it on the first message, and sends under it
from the first ESP packet or the third message on.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import anyio
from pydantic import AfterValidator, Field

from nodes.faults.engine import RELEASED
from nodes.faults.rule import time_text
from nodes.peer.model import Connection, Rekey, Rekeyed, Terminate
from orchestrator import tunnel
from orchestrator.capture.classify import classify
from orchestrator.capture.pcapng import read_file
from orchestrator.flows import Flows
from orchestrator.peer import TunnelEnd
from orchestrator.report.ladder import ike_messages
from orchestrator.report.moments import Frames
from orchestrator.report.nodes_seen import names_by_address
from orchestrator.report.quick_modes import quick_modes
from orchestrator.report.sa_lines import esp_by_spi
from orchestrator.runtimes.base import BRIDGE
from orchestrator.scenarios import sa_evidence
from orchestrator.scenarios import tunnel_between_peers as between
from orchestrator.scenarios.footprint import Footprint, footprint
from orchestrator.scenarios.sa_moments import EFFECTIVE, INSTALLED, REKEYED, moments, negotiated
from orchestrator.scenarios.scenario import Cast, Parameters, Scenario
from orchestrator.scenarios.stage import Stage
from orchestrator.tasks import gather
from orchestrator.topology.plan import RoleName

SETTLED = 90.0
"""Seconds in which a negotiation must end: charon sends a message for the last time after 75 s."""
ENOUGH_TO_TELL = 100
"""Negotiations from which on the memory at the end says something."""
LEAST_DELAY_MS, GREATEST_DELAY_MS = 1.0, 60_000.0
_THIRD = re.compile(r"pass|drop|delay:([0-9]+(?:\.[0-9]+)?)(us|ms|s)")
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_ENDS = {"strongswan": ("peer-a", "peer-b"), "hopbed": ("endpoint", "endpoint-b")}
"""Who initiates and who responds, by what they are."""


def _third(value: str) -> str:
    """A delay within its bounds."""
    delay_ms = _delay_ms(value)
    if delay_ms is not None and not LEAST_DELAY_MS <= delay_ms <= GREATEST_DELAY_MS:
        raise ValueError(f"a delay is from {LEAST_DELAY_MS:g}ms to {GREATEST_DELAY_MS / 1000:g}s")
    return value


def _delay_ms(third: str) -> float | None:
    found = _THIRD.fullmatch(third)
    return float(found[1]) * _UNITS_MS[found[2]] if found and found[1] else None


class SaNegotiation(Parameters):
    """The parameters of ``sa-negotiation``."""

    responder: Annotated[
        Literal["strongswan", "stock", "early"],
        Field(description="unmodified strongSwan, or the endpoint with stock or with early timing"),
    ] = "early"
    initiator: Annotated[
        Literal["strongswan", "hopbed"], Field(description="unmodified strongSwan, or the endpoint")
    ] = "strongswan"
    moment: Annotated[
        Literal["initial", "rekey"], Field(description="the first Quick Mode, or one that rekeys")
    ] = "rekey"
    third: Annotated[
        str,
        Field(
            pattern=f"^(?:{_THIRD.pattern})$",
            description="the third message: pass, drop, or delay:D such as delay:500ms",
        ),
        AfterValidator(_third),
    ] = "pass"
    pfs: Annotated[bool, Field(description="a Diffie-Hellman exchange in every Quick Mode")] = False
    rate: Annotated[int, Field(ge=10, le=10_000, description="UDP probes per second, each way")] = 500
    count: Annotated[int, Field(ge=1, le=10_000, description="negotiations")] = 1
    interval: Annotated[float, Field(ge=0, le=3600, description="seconds from one to the next")] = 0.5
    esp_trigger: Annotated[
        bool, Field(description="the early SA takes effect on ESP too, not on the third message alone")
    ] = True
    max_lost: Annotated[
        int | None,
        Field(ge=0, description="probes a flow may lose; by default none if early, any if stock"),
    ] = None
    tcp_rate: Annotated[
        int, Field(ge=0, le=10_000, description="TCP records per second, each way; 0: none")
    ] = 0

    @property
    def delay_ms(self) -> float | None:
        """How late the third message is to be; None where it is not to be late."""
        return _delay_ms(self.third)

    @property
    def fault(self) -> str | None:
        """What happens to the third message, in every negotiation, in the words of a fault."""
        if self.third == "pass":
            return None
        if self.delay_ms is None:
            return "drop quick-mode 3 from INITIATOR always"
        return f"delay quick-mode 3 from INITIATOR always by {time_text(round(self.delay_ms * 1e6))}"

    @property
    def at_most(self) -> int | None:
        """The loss that passes; None reports what stock timing loses, whatever it is.

        Without the trigger the first SA of all has nothing that it can send under until the third message.
        """
        judged = self.responder == "early" and (self.esp_trigger or self.moment == "rekey")
        return self.max_lost if self.max_lost is not None or not judged else 0


def cast(parameters: SaNegotiation) -> Cast:
    """The initiator's and the responder's node, and no other."""
    ours = "strongswan" if parameters.responder == "strongswan" else "hopbed"
    ends = _ENDS[parameters.initiator][0], _ENDS[ours][1]
    return Cast(nodes=ends, ends=ends)


async def play(stage: Stage, parameters: SaNegotiation) -> None:
    """Negotiate ``count`` times under traffic."""
    await _Play(stage, parameters).play()


class _Play:
    def __init__(self, stage: Stage, parameters: SaNegotiation) -> None:
        self._stage = stage
        self._parameters = parameters
        self._ends = cast(parameters).ends
        self._events = stage.bed.events
        self._initiator, self._responder = self._ends
        self._done = 0
        self._before: dict[str, Footprint] = {}
        self._warm: dict[str, Footprint] = {}

    async def play(self) -> None:
        await self._load()
        if self._parameters.moment == "initial":
            await self._initially()
        else:
            await self._rekey()
        asked = self._parameters.count
        self._stage.check(
            "negotiations", expected=str(asked), measured=str(self._done), passed=self._done == asked
        )
        for flow in self._stage.flows:
            between.check_loss(self._stage, flow, at_most=self._parameters.at_most)

    def _end(self, name: str) -> TunnelEnd:
        return self._stage.bed.node(name).tunnel_end

    async def _load(self) -> None:
        """Load both ends; no SA ends by itself while the scenario plays."""
        settings = tunnel.Settings(version=1, pfs=self._parameters.pfs, child_rekey_time=0, ike_rekey_time=0)
        credentials = tunnel.credentials(self._stage.bed.plan, self._ends, "psk")
        ends = tunnel.tunnel(self._stage.bed.plan, *self._ends, credentials, settings)
        await gather(
            [self._load_end(self._initiator, ends.initiator), self._load_end(self._responder, ends.responder)]
        )

    async def _load_end(self, name: str, connection: Connection) -> None:
        node = self._stage.bed.node(name)
        if node.plan.role is not RoleName.IKE:
            await node.peer.load(connection)
            return
        timing = "early" if self._parameters.responder == "early" else "stock"
        await node.endpoint.load(
            tunnel.at_endpoint(connection, timing=timing, esp_trigger=self._parameters.esp_trigger)
        )

    async def _initially(self) -> None:
        """Each time a first negotiation, and traffic from the moment at which the initiator has its SA."""
        parameters = self._parameters
        await self._begin_faults()
        for number in range(parameters.count):
            suffix = f"-{number + 1}" if parameters.count > 1 else ""
            specs = between.probes(self._stage, parameters, ends=self._ends, suffix=suffix, held=True)
            datagrams, streams = ([one for one in specs if one.held is held] for held in (True, False))
            async with self._stage.traffic(datagrams) as flows:
                since = len(self._events.past)
                await gather([self._establish(since, wait=False), self._begin_traffic(flows, since)])
                async with self._stage.traffic(streams):
                    await self._until_settled(self._spi_there(since), since, INSTALLED)
                    await anyio.sleep(parameters.interval)
            self._done += 1
            if self._done < parameters.count:
                await self._tear_down()

    async def _begin_traffic(self, flows: Flows, since: int) -> None:
        """Traffic both ways from the moment at which the initiator has its SA."""
        await self._events.wait_for(INSTALLED, node=self._initiator, since=since, timeout=SETTLED)
        await flows.begin()

    async def _tear_down(self) -> None:
        since = len(self._events.past)
        await self._end(self._initiator).terminate(Terminate(connection=tunnel.CONNECTION))
        await self._events.wait_for("ike-sa.deleted", node=self._responder, since=since, timeout=SETTLED)

    async def _rekey(self) -> None:
        """One tunnel, traffic through it, and one rekey after the other; a rekey later the old SA goes."""
        parameters = self._parameters
        await self._establish(len(self._events.past), wait=True)
        await self._begin_faults()
        warm = parameters.count // 10
        replaced: list[int] = []
        self._before = await self._footprints()
        async with self._stage.traffic(between.probes(self._stage, parameters, ends=self._ends)):
            for number in range(parameters.count):
                await anyio.sleep(parameters.interval)  # the schedule of the scenario, not a wait
                if number == warm:
                    self._warm = await self._footprints()
                replaced.append((await self._rekey_once()).old_id)
                if len(replaced) > 1:
                    await self._delete(replaced.pop(0))
                self._done += 1
            await anyio.sleep(parameters.interval)
            for old in replaced:
                await self._delete(old)
            await anyio.sleep(parameters.interval)
        after = await self._footprints()
        judged = parameters.count >= ENOUGH_TO_TELL
        for check in (
            *sa_evidence.sas_flat(self._before, after),
            *sa_evidence.memory_flat(self._warm, after, judged=judged),
        ):
            self._stage.add(check)

    async def _rekey_once(self) -> Rekeyed:
        since = len(self._events.past)
        selector = Rekey(connection=tunnel.CONNECTION, child=tunnel.CHILD)
        new = await self._end(self._initiator).rekey(selector)
        await self._until_settled(new.new_spis[1], since, REKEYED)
        return new

    async def _delete(self, child_id: int) -> None:
        """Delete the SA that was replaced, as a daemon does in the end, unless it has done so."""
        initiator = self._end(self._initiator)
        if any(child.unique_id == child_id for sa in await initiator.list_sas() for child in sa.children):
            await initiator.terminate(Terminate(child_id=child_id))

    async def _establish(self, since: int, *, wait: bool) -> None:
        """Negotiate; with ``wait`` until the responder has the SA too."""
        initiated = await self._end(self._initiator).initiate(tunnel.CONNECTION, tunnel.CHILD)
        if wait:
            await self._until_settled(self._spi_there(since), since, INSTALLED)
        if self._done == 0:
            self._stage.check(
                "tunnel established",
                expected="a CHILD_SA by IKEv1",
                measured=f"{initiated.child.encryption}, SPI {initiated.child.spi_in}",
                passed=initiated.ike.version == 1,
            )
            await self._tell_what_runs()

    async def _begin_faults(self) -> None:
        await self._stage.begin_faults()
        rule = self._parameters.fault
        if rule is not None and self._stage.fault_engine is not None:
            await self._stage.fault_engine.add(rule)

    def _spi_there(self, since: int) -> str:
        """The SPI under which the initiator sends, from its event, which comes before the call's answer."""
        return next(
            str(event.data["spi_out"])
            for event in reversed(self._events.past[since:])
            if (event.kind, event.node) == (INSTALLED, self._initiator)
        )

    async def _until_settled(self, spi: str, since: int, told_by_strongswan: str) -> None:
        """Wait until the responder sends under the new SA, and a late third message is on its way."""
        kind = told_by_strongswan if self._parameters.responder == "strongswan" else EFFECTIVE
        await self._events.wait_for(
            kind,
            node=self._responder,
            where=lambda event: event.data.get("new", event.data).get("spi_in") == spi,
            since=since,
            timeout=SETTLED,
        )
        if self._parameters.delay_ms is not None and self._done_faults():
            await self._events.wait_for(RELEASED, node=self._initiator, since=since, timeout=SETTLED)

    def _done_faults(self) -> bool:
        """Whether the fault is in force: it is not for the SA that is to be rekeyed."""
        engine = self._stage.fault_engine
        return engine is not None and any(total.text == self._parameters.fault for total in engine.totals)

    async def _footprints(self) -> dict[str, Footprint]:
        found = await gather(footprint(self._stage.bed.node(name)) for name in self._ends)
        return dict(zip(self._ends, found, strict=True))

    async def _tell_what_runs(self) -> None:
        """Put the data plane and strongSwan's version into the verdict."""
        planes: list[str] = []
        for name in self._ends:
            node = self._stage.bed.node(name)
            if node.plan.role is RoleName.IKE:
                planes.append((await node.endpoint.status()).dataplane)
                continue
            status = await node.peer.status()
            planes.append(status.dataplane)
            self._stage.versions["strongSwan"] = status.version
        self._stage.dataplane = " and ".join(dict.fromkeys(planes))


def inspect(stage: Stage, parameters: SaNegotiation) -> None:
    """Hold what the daemons told of their SAs against the bridge's capture."""
    ends = cast(parameters).ends
    packets = read_file(stage.captures[BRIDGE])
    headers = classify(packets)
    between.inspect_esp(stage, packets, headers, ends)
    frames = Frames.at(packets, stage.capture_files[BRIDGE].clock_offset_ns)
    events = stage.bed.events.past
    messages = ike_messages(frames, headers, names_by_address(events))
    pairs = negotiated(events, *ends)
    if parameters.moment == "rekey":
        pairs = pairs[1:]  # the first is the one that was rekeyed
    seen = moments(pairs, quick_modes(messages, ends[0]), esp_by_spi(frames, headers))
    for check in (
        sa_evidence.third_message(seen, parameters.third, parameters.delay_ms),
        sa_evidence.installed(seen, parameters.responder),
        sa_evidence.effective(seen, parameters.responder, esp_trigger=parameters.esp_trigger),
        sa_evidence.esp_before_third(seen, parameters.third),
        *sa_evidence.figures(seen),
    ):
        stage.add(check)


SCENARIO = Scenario(
    name="sa-negotiation",
    summary="an IKEv1 responder installs its SA on the third message, or early on the first",
    nodes=("peer-a", "peer-b", "endpoint", "endpoint-b"),
    ends=("peer-a", "endpoint-b"),
    parameters=SaNegotiation,
    play=play,
    inspect=inspect,
    cast=cast,
)
