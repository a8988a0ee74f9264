"""Where hops come from in ``address-hop``: the terminal alone, or a router with one prefix after another."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from orchestrator.router import Advertiser, Prefix, accept_advertisements, advertising
from orchestrator.scenarios import address_hop_link as link
from orchestrator.scenarios.address_hop_nodes import MOVING, outsider_of
from orchestrator.scenarios.address_hop_parameters import AddressHopScenario
from orchestrator.scenarios.stage import Stage

_ADVERTISED_EVERY = 0.25
_FIRST_ADDRESS_TIMEOUT = 10.0


class Origin:
    """The first address, and what goes on beside the hops.

    Attributes:
        first: the address that hops first.
    """

    def __init__(self, first: ipaddress.IPv6Address) -> None:
        self.first = first

    async def follow(self) -> None:
        """Do what makes addresses change; until cancelled."""
        await anyio.sleep_forever()


class _RouterOrigin(Origin):
    """A router that advertises a new prefix, and the one before no more, each preferred lifetime."""

    def __init__(
        self, first: ipaddress.IPv6Address, stage: Stage, parameters: AddressHopScenario, router: Advertiser
    ) -> None:
        super().__init__(first)
        self._stage, self._parameters, self._router = stage, parameters, router

    async def follow(self) -> None:
        start = anyio.current_time()
        for number in range(1, self._parameters.hops + 2):
            await anyio.sleep_until(start + number * self._parameters.every)
            await _advertise(self._stage, self._parameters, self._router, number)
        await anyio.sleep_forever()


async def _advertise(
    stage: Stage, parameters: AddressHopScenario, router: Advertiser, number: int
) -> ipaddress.IPv6Network:
    assert parameters.preferred is not None  # the parameters see to it
    assert parameters.valid is not None
    prefix = link.advertised_prefix(stage.bed.plan, number)
    preferred, valid = int(parameters.preferred), int(parameters.valid)
    await router.advertise([Prefix(prefix=str(prefix), preferred=preferred, valid=valid)])
    return prefix


@asynccontextmanager
async def origin(stage: Stage, parameters: AddressHopScenario) -> AsyncIterator[Origin]:
    """The address that hops first: the node's own, or the one that an advertisement brings.

    Raises:
        NodeError: no advertisement brought one.
    """
    bed = stage.bed
    if parameters.kind != "ra":
        yield Origin(bed.plan.node(MOVING).address.ip)
        return
    await accept_advertisements(bed.node(MOVING))
    router = bed.node(outsider_of(parameters))
    since = len(bed.events.past)
    async with advertising(bed.runtime, router, interval=_ADVERTISED_EVERY) as advertiser:
        prefix = await _advertise(stage, parameters, advertiser, 0)
        added = await bed.events.wait_for(
            "address.added",
            node=MOVING,
            where=lambda event: ipaddress.IPv6Address(event.data["address"]) in prefix,
            since=since,
            timeout=_FIRST_ADDRESS_TIMEOUT,
        )
        first = ipaddress.IPv6Address(added.data["address"])
        yield _RouterOrigin(first, stage, parameters, advertiser)
