"""The scanner of ``address-hop``: what it finds at the first address before, at retired ones after."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from orchestrator.applications import curl
from orchestrator.applications.application import Ends, listening
from orchestrator.attacker import Found, Scan, scan
from orchestrator.evidence.verdict import Check
from orchestrator.scenarios import address_hop_evidence as evidence
from orchestrator.scenarios.address_hop_nodes import MOVING, outsider_of
from orchestrator.scenarios.address_hop_parameters import AddressHopScenario
from orchestrator.scenarios.stage import Stage

_SERVICE_PORT = curl.PORT + 1
_WELL_KNOWN = tuple(range(1, 1025))
_LATEST = 3
"""So many of the latest retired addresses are scanned, and the very first one."""
_NEIGHBOURS = 64
"""A scanner that knows an address looks below and above it, too."""


class Scanner:
    """A node that knows the prefix and the addresses that were in use."""

    def __init__(self, stage: Stage, parameters: AddressHopScenario, first: ipaddress.IPv6Address) -> None:
        self._stage = stage
        self._node = stage.bed.node(outsider_of(parameters))
        self._first = first
        self._retires = parameters.partner == "terminal"

    async def before(self) -> None:
        """The scan finds the service while nothing hops: the scanner can find."""
        found = (await self._scan([self._first]))[str(self._first)]
        self._stage.check(
            "scanner: the first address, without hopping",
            expected=f"port {_SERVICE_PORT} open",
            measured=_words(found),
            passed=_SERVICE_PORT in found.tcp_open,
        )

    async def after(self) -> None:
        """The scan finds nobody at retired addresses, and the service where it is now."""
        events = self._stage.bed.events.past
        gone = [one.address for one in evidence.retired(events) if self._is_of_moving(one.address)]
        if not self._retires or not gone:
            return
        targets = list(dict.fromkeys([gone[0], *gone[-_LATEST:]]))
        latest = max(evidence.closed(events, MOVING), key=lambda event: int(event.data["hop"]))
        present = ipaddress.IPv6Address(latest.data["second"])  # hops close in any order
        around = [
            ipaddress.IPv6Address(int(one) + step)
            for one in targets[:1]
            for step in range(-_NEIGHBOURS // 2, _NEIGHBOURS // 2)
            if step
        ]
        found = await self._scan([*targets, present], around)
        alive = {str(one): _words(found[str(one)]) for one in targets if found[str(one)].alive}
        self._stage.add(
            Check.of(
                "scanner: retired addresses",
                expected="nobody answers: no echo, no port, open or closed",
                measured=alive or f"nobody at {len(targets)} addresses, {len(_ports())} ports each",
                passed=not alive,
            )
        )
        self._stage.check(
            "scanner: the present address, which it is told",
            expected=f"port {_SERVICE_PORT} open",
            measured=_words(found[str(present)]),
            passed=_SERVICE_PORT in found[str(present)].tcp_open,
        )

    def _is_of_moving(self, address: ipaddress.IPv6Address) -> bool:
        closed = evidence.closed(self._stage.bed.events.past, MOVING)
        return str(address) in {event.data["first"] for event in closed}

    async def _scan(
        self, targets: list[ipaddress.IPv6Address], around: list[ipaddress.IPv6Address] | None = None
    ) -> dict[str, Found]:
        order = Scan(
            addresses=tuple(map(str, around or ())),
            targets=tuple(map(str, targets)),
            tcp_ports=_ports(),
            udp_ports=(53, 33434),
            patience=0.5,
        )
        return await scan(self._stage.bed.runtime, self._node, order)


class _NoScanner:
    async def before(self) -> None:
        """Nothing was asked for."""

    async def after(self) -> None:
        """Nothing was asked for."""


@asynccontextmanager
async def scanner(
    stage: Stage, parameters: AddressHopScenario, first: ipaddress.IPv6Address
) -> AsyncIterator[Scanner | _NoScanner]:
    """A scanner, and a web server in the node that hops, on every address, for the length of the context."""
    if not parameters.scan:
        yield _NoScanner()
        return
    node = stage.bed.node(MOVING)
    ends = Ends(runtime=stage.bed.runtime, client=node, server=node, address=str(first))
    serve = [*stage.bed.runtime.python, "-u", "-m", "http.server"]
    serve += ["--bind", "::", "--directory", "/var/empty", str(_SERVICE_PORT)]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(listening(ends, "the web server", serve, "Serving HTTP"))
        yield Scanner(stage, parameters, first)


def _ports() -> tuple[int, ...]:
    return (*_WELL_KNOWN, _SERVICE_PORT)


def _words(found: Found) -> str:
    if not found.alive:
        return "nobody answers"
    ports = ", ".join(map(str, found.tcp_open)) or "none"
    return f"alive{', answers echo' if found.echo else ''}; TCP ports open: {ports}"
