"""The hop daemon's methods: what is asked of the core, in the terms of :mod:`nodes.terminal.model`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv6Address, IPv6Network
from typing import Any, Literal

import anyio
import msgspec

from nodes import errors
from nodes.control.methods import Handler
from nodes.terminal.actions import Action, Carriage
from nodes.terminal.addresses import Addresses
from nodes.terminal.core import Terminal
from nodes.terminal.executor import Executor
from nodes.terminal.link_addresses import LinkAddress
from nodes.terminal.model import (
    AddressState,
    FlowState,
    Hop,
    Hopped,
    Hopping,
    HopState,
    Link,
    Pair,
    PairState,
    Schedule,
    SetPolicy,
    Status,
)
from nodes.terminal.plan import HopPlan, plan_of
from nodes.terminal.policy import Policy
from nodes.terminal.settings import Settings

_NS = 1_000_000_000
HOP_CLOSED, HOP_FAILED, HOP_SERVICE = "hop.closed", "hop.failed", "hop.service"


class TerminalMethods:
    """Answers the calls to a terminal.

    Args:
        core: decides.
        executor: tells the core, and does what it says.
        addresses: of the interface.
        begin: takes up what was, and starts to listen; called once.
    """

    def __init__(
        self,
        *,
        core: Terminal,
        executor: Executor,
        addresses: Addresses,
        begin: Callable[[], Awaitable[None]],
    ) -> None:
        self._core = core
        self._executor = executor
        self._addresses = addresses
        self._begin = begin
        self._hopped = 0
        self._outcomes: dict[str, str] = {}
        self._waiting: dict[int, tuple[anyio.Event, list[Hopped | errors.NodeError]]] = {}
        executor.observe(self._observe)

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by name."""
        return {
            "terminal.begin": self.begin,
            "terminal.pair": self.pair,
            "terminal.link": self.link,
            "terminal.policy": self.policy,
            "terminal.schedule": self.schedule,
            "terminal.hop": self.hop,
            "terminal.stop": self.stop,
            "terminal.status": self.status,
        }

    async def begin(self) -> None:
        """Take up what an earlier daemon left, and begin to work."""
        await self._begin()

    async def pair(self, pair: Pair) -> None:
        """Share a secret with a partner."""
        addresses = [IPv6Address(address) for address in pair.addresses]
        self._core.pair(pair.partner, pair.secret.encode(), addresses)
        await self._executor.partners_at(addresses)

    async def link(self, link: Link) -> None:
        """Let these prefixes be on the link."""
        await self._executor.link_changed([IPv6Network(prefix) for prefix in link.prefixes])

    async def policy(self, policy: SetPolicy) -> None:
        """Which services support address updating."""
        self._executor.silent = policy.silent
        self._core.policy(
            Policy(
                rules=policy.rules,
                otherwise=policy.otherwise,
                prefix=policy.prefix,
                interface_id=policy.interface_id,
            )
        )

    async def schedule(self, schedule: Schedule) -> None:
        """Hop on a schedule.

        Raises:
            ParameterError: the times leave no room for a hop, nobody shares a secret, a prefix is not on the
            link.
        """
        plan = await self._plan(
            schedule,
            hops=schedule.hops,
            period=None if schedule.period is None else round(schedule.period * _NS),
            jitter=round(schedule.jitter * _NS),
            preferred=schedule.preferred,
            valid=schedule.valid,
        )
        self._configure(schedule)
        await self._executor.look()
        await self._executor.tell(lambda now: self._core.schedule(plan, now))

    async def hop(self, hop: Hop) -> Hopped:
        """Hop once, and wait for the hop's end.

        Raises:
            ParameterError: as :meth:`schedule`.
            NodeError: the hop came to nothing, or did not end in time.
        """
        plan: HopPlan | None = await self._plan(hop)
        if self._runs():
            plan = None
        else:
            self._configure(hop)
        await self._executor.look()
        begun: list[int] = []

        def begin(now: int) -> list[Action]:
            number, actions = self._core.hop(now, plan)
            begun.append(number)
            self._waiting[number] = anyio.Event(), []
            return actions

        await self._executor.tell(begin)
        ended, results = self._waiting[begun[0]]
        try:
            with anyio.move_on_after(hop.timeout):
                await ended.wait()
        finally:
            del self._waiting[begun[0]]
        if not results:
            raise errors.NodeError(f"hop {begun[0]} did not end within {hop.timeout:g} s; it goes on")
        if isinstance(results[0], errors.NodeError):
            raise results[0]
        return results[0]

    async def stop(self) -> None:
        """Begin no more hops."""
        await self._executor.tell(self._core.stop)

    async def status(self) -> Status:
        """What there is now."""
        now = time.monotonic_ns()
        said: Mapping[str, Any] = self._core.status()
        return Status(
            addresses=tuple(_address(one, now) for one in self._addresses.known.addresses),
            pairs=tuple(
                PairState(partner=name, addresses=tuple(pair["addresses"]), carriage=pair.get("carriage"))
                for name, pair in said["partners"].items()
            ),
            flows=tuple(
                FlowState(
                    service=_service(one),
                    partner=one["partner"],
                    wire=f"{one['wire_local']} > {one['wire_remote']}",
                    outcome=self._outcomes.get(_service(one)),
                )
                for one in said["services"]
                if not one["ended"]
            ),
            hops=tuple(
                HopState(
                    hop=one["hop"],
                    first=one["first"],
                    second=one["second"],
                    state=one.get("state", "under way"),
                )
                for one in said["hops"]
            ),
            hopped=self._hopped,
        )

    async def _plan(self, hopping: Hopping, **times: int | None) -> HopPlan:
        if not self._core.status()["partners"]:
            raise errors.ParameterError(
                "hops: no secret is shared with any partner, so nobody would answer; terminal.pair shares one"
            )
        first = hopping.first or str(self._first())
        known = {one.address for one in self._addresses.known.addresses}
        if IPv6Address(first) not in known:
            raise errors.ParameterError(
                f"hops: {first} is no address of this node; it has {', '.join(map(str, known)) or 'none'}"
            )
        plan = plan_of(
            {
                "kind": hopping.kind,
                "first": first,
                "prefixes": list(hopping.prefixes),
                "pool": hopping.pool,
                "dad": self._addresses.dad.value,
                **{name: value for name, value in times.items() if value is not None},
            }
        )
        on_link = await self._addresses.prefixes_on_link()
        for prefix in plan.prefixes:
            if not any(prefix.subnet_of(known_prefix) for known_prefix in on_link):
                raise errors.ParameterError(
                    f"hops: the prefix {prefix} is not on the link ({', '.join(map(str, on_link))}); "
                    "terminal.link says that a prefix is"
                )
        return plan

    def _first(self) -> IPv6Address:
        """The address to hop from: the newest that is not deprecated."""
        usable = [one for one in self._addresses.known.addresses if one.usable]
        if not usable:
            raise errors.ParameterError("hops: this node has no address to hop from")
        return max(enumerate(usable), key=lambda one: (not one[1].deprecated, one[0]))[1].address

    def _runs(self) -> bool:
        """Whether a schedule runs."""
        said: Mapping[str, Any] = self._core.status()["schedule"]  # type: ignore[assignment]
        return said["kind"] is not None and not said.get("by_hand", False)

    def _configure(self, hopping: Hopping) -> None:
        self._executor.option_type(hopping.option_type)
        self._core.configure(
            Settings(
                carriage=Carriage(hopping.carriage),
                option_type=hopping.option_type,
                fallback=hopping.fallback,
                grace=round(hopping.grace * _NS),
                keep_most=round(hopping.keep * _NS),
                flow_labels=hopping.flow_labels,
                move_ports=hopping.move_ports,
            )
        )

    def _observe(self, kind: str, data: Mapping[str, Any]) -> None:
        """Take note of what the core reports."""
        if kind == HOP_SERVICE:
            self._outcomes[_service(data["service"])] = data["outcome"]
        elif kind in (HOP_CLOSED, HOP_FAILED):
            self._hopped += kind == HOP_CLOSED
            ended, results = self._waiting.get(data["hop"], (None, []))
            if ended is not None:
                results.append(
                    msgspec.convert(data, Hopped)
                    if kind == HOP_CLOSED
                    else errors.NodeError(f"hop {data['hop']} came to nothing: {data['reason']}")
                )
                ended.set()


def _service(said: Mapping[str, Any]) -> str:
    return f"{said['protocol']} {said['local']} > {said['remote']}"


def _address(one: LinkAddress, now: int) -> AddressState:
    def left(duration: int | None) -> float | None:
        return None if duration is None else max(duration - (now - one.since), 0) / _NS

    state: Literal["tentative", "deprecated", "preferred"] = "preferred"
    if not one.usable:
        state = "tentative"
    elif one.deprecated:
        state = "deprecated"
    preferred, valid = left(one.preferred), left(one.valid)
    return AddressState(address=str(one.address), state=state, preferred=preferred, valid=valid)
