"""Carries out what the core asks for, and tells it what happened: all it says and hears comes by here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv6Address, IPv6Network
from typing import Any

import anyio

from nodes import errors
from nodes.role import Publish
from nodes.terminal.actions import (
    Action,
    AddAddress,
    CloseSockets,
    Deprecate,
    Flow,
    HoldIdentity,
    KeepAddress,
    Path,
    RefreshFlows,
    RefusedAddress,
    ReleaseIdentity,
    Report,
    RetireAddress,
    RetireRemote,
    Rewrite,
    Send,
)
from nodes.terminal.addresses import Addresses, AddressRefusedError
from nodes.terminal.carriage import ErrorReceived, Messages, Received
from nodes.terminal.core import Terminal
from nodes.terminal.data_plane import DataPlane
from nodes.terminal.header import check_option_type
from nodes.terminal.inventory import Inventory
from nodes.terminal.link_addresses import AddressChange, Change
from nodes.terminal.nf_socket import RefusedError
from nodes.terminal.path_mtu import PathMtus, TooBig
from nodes.terminal.rt_socket import RouteRefusedError
from nodes.terminal.sockets import SocketList
from nodes.terminal.state_file import StateFile

Call = Callable[[int], list[Action]]
"""Something to tell the core; the argument is the time."""

INVENTORY_AGE = 20_000_000
"""Nanoseconds after which an inventory is no longer new enough for what is decided on it."""


class Executor:
    """Between the core and the kernel; one call at a time, whoever calls.

    Args:
        core: decides.
        addresses: of the interface.
        plane: rewrites packets.
        messages: carries messages.
        sockets: the kernel's lists.
        inventory: the flows that are known.
        path_mtus: what ICMPv6 says of them.
        state: where the core's state is kept.
        publish: puts events on the stream.
    """

    def __init__(
        self,
        *,
        core: Terminal,
        addresses: Addresses,
        plane: DataPlane,
        messages: Messages,
        sockets: SocketList,
        inventory: Inventory,
        path_mtus: PathMtus,
        state: StateFile,
        publish: Publish,
    ) -> None:
        self._core = core
        self._addresses = addresses
        self._plane = plane
        self._messages = messages
        self._sockets = sockets
        self._inventory = inventory
        self._path_mtus = path_mtus
        self._state = state
        self._publish = publish
        self._lock = anyio.Lock()
        self._woken = anyio.Event()
        self._held: set[IPv6Address] = set()
        self._adding: set[IPv6Address] = set()
        self._on_link: list[IPv6Network] = []
        self._partners: set[IPv6Network] = set()
        self._looked = 0
        self._mtus: dict[Flow, int] = {}
        self._observers: list[Callable[[str, Mapping[str, Any]], None]] = []
        self.silent = False

    def observe(self, observer: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Call this with every event that the core reports."""
        self._observers.append(observer)

    def option_type(self, option_type: int) -> None:
        """Send messages as this option from now on."""
        self._messages.option_type = check_option_type(option_type)

    async def begin(self) -> None:
        """Take up what an earlier program left: its state, the table, the addresses, the flows.

        Raises:
            HopbedError: what it left is not to be read, or the kernel refused.
        """
        kept = self._state.read()
        async with self._lock:
            actions = self._core.restore(kept, time.monotonic_ns()) if kept else []
            self.option_type(self._core.settings.option_type)
            self._inventory.take_up(self._core.flows())
            self._plane.neighbours_in(await self._addresses.prefixes_on_link())
            self._plane.take_up(self._core.rewritings())
            changes = await self._addresses.present()
            await self._carry_out(actions)
        await self.link_changed()
        for change in changes:
            await self.address_changed(change)
        there = {one.address: one.deprecated for one in self._addresses.known.addresses}
        if kept:
            await self.tell(lambda now: self._core.present(there, now))
        await self.look()

    async def tell(self, call: Call) -> None:
        """Tell the core something, and carry out what it asks for."""
        async with self._lock:
            await self._carry_out(call(time.monotonic_ns()))
        self._woken.set()

    async def hear(self, received: Received) -> None:
        """Tell the core of a message, unless it is to be silent."""
        if not self.silent:
            await self.tell(
                lambda now: self._core.receive(
                    received.source, received.destination, received.message, received.carriage, now
                )
            )

    async def hear_error(self, error: ErrorReceived) -> None:
        """Tell the core of an ICMPv6 error."""
        await self.tell(lambda now: self._core.unrecognised(error.error, error.source, error.quoted, now))

    async def too_big(self, heard: TooBig) -> None:
        """A path's MTU is smaller than was thought: let it hold for the wire's addresses too."""
        async with self._lock:
            path = self._plane.out(heard.flow)
            if path is not None:
                with contextlib.suppress(RefusedError):
                    # The socket's route has an entry of its own now, with the next hop of its own addresses.
                    self._plane.reroute()
                self._mtus[heard.flow] = heard.mtu
                self._tell_mtu(path, heard.mtu)

    def _tell_mtu(self, path: Path, mtu: int) -> None:
        with contextlib.suppress(OSError):  # the address went; so did whatever would be sent from it
            self._path_mtus.tell(path, mtu)

    async def address_changed(self, change: AddressChange) -> None:
        """Tell the core, and whoever reads events, what happened to an address."""
        address = change.address
        self._adding.discard(address)
        if change.change is Change.DUPLICATE:
            self._addresses.remove(address)
            text = f"{address} is in use on the link already (duplicate address detection)"
            await self.tell(
                lambda now: self._core.address_refused(address, RefusedAddress.DUPLICATE, text, now)
            )
            return
        self._publish(f"address.{change.change}", address=str(address), **_lifetimes(change))
        if change.change is Change.ADDED:
            if not any(address in prefix for prefix in self._on_link):
                await self.link_changed()
            await self.tell(lambda now: self._added(change, now))
        elif change.change is Change.DEPRECATED:
            await self.tell(lambda now: self._core.address_deprecated(address, now))
        elif change.change is Change.EXPIRED:
            await self.tell(lambda now: self._core.address_expired(address, now))

    def _added(self, change: AddressChange, now: int) -> list[Action]:
        return self._core.address_added(
            change.address, now, preferred=change.preferred, valid=change.valid, advertised=change.advertised
        )

    async def link_changed(self, also: Iterable[IPv6Network] = ()) -> None:
        """The link may have changed: let its prefixes stand, and learn the flows with their nodes."""
        async with self._lock:
            for prefix in also:
                self._addresses.stand(prefix)
            for prefix in await self._addresses.prefixes_on_link():
                if prefix not in self._on_link:
                    self._addresses.stand(prefix)
                    self._on_link.append(prefix)
            self._plane.neighbours_in(self._on_link)
            self._plane.learn_from([*self._on_link, *self._partners])

    async def partners_at(self, addresses: Iterable[IPv6Address]) -> None:
        """Partners are at these addresses: learn the flows with nodes of their prefixes."""
        self._partners |= {IPv6Network((int(address) >> 64 << 64, 64)) for address in addresses}
        self._plane.learn_from([*self._on_link, *self._partners])

    async def look(self, *, age: int = 0) -> None:
        """Take the inventory, unless it is younger than ``age`` ns, and tell the core what changed."""
        if time.monotonic_ns() - self._looked > age:
            await self.tell(self._look)

    def _look(self, now: int) -> list[Action]:
        learned = [flow for flow in self._plane.learned() if self._core.concerned(flow)]
        changes = self._inventory.look(self._sockets.sockets(), learned)
        self._looked = now
        self._choose_from()
        return self._core.flows_changed(changes.began, changes.ended, now)

    def _choose_from(self) -> None:
        """Whatever address the kernel chooses for a socket without one, the packets of a flow are alike."""
        chosen = {one.address for one in self._addresses.known.addresses} | self._adding
        self._plane.choose_from(self._inventory.loose, frozenset(chosen))

    async def tick_on(self) -> None:
        """Wake the core when it wants to be woken, until cancelled."""
        while True:
            self._woken = anyio.Event()
            wake = self._core.next_wake()
            with anyio.move_on_after(_until(wake)) as waiting:
                await self._woken.wait()
            if waiting.cancelled_caught:
                await self.look(age=INVENTORY_AGE)
                await self.tell(self._core.tick)

    async def _carry_out(self, actions: list[Action]) -> None:
        if not actions:
            return
        while actions:
            self._state.write(self._core.snapshot())
            calls: list[Call] = []
            failed = False
            for action in actions:
                if failed and isinstance(action, Send):
                    continue  # it may rely on what came to nothing; the core repeats what matters
                call = await self._do(action)
                if call is not None:
                    calls.append(call)
                    failed |= isinstance(action, Rewrite)
            if self._core.carried_out():
                self._state.write(self._core.snapshot())
            actions = [action for call in calls for action in call(time.monotonic_ns())]

    async def _do(self, action: Action) -> Call | None:
        """Carry out an action; what the core is to be told next, if anything."""
        match action:
            case Send():
                self._send(action)
            case Rewrite():
                return self._rewrite(action)
            case AddAddress():
                return await self._add(action)
            case Report():
                self._publish(action.kind, **action.data)
                for observer in self._observers:
                    observer(action.kind, action.data)
            case RefreshFlows():
                return self._look
            case CloseSockets():
                self._close_sockets(action)
            case _:
                self._address(action)
        return None

    def _address(self, action: Action) -> None:
        try:
            match action:
                case Deprecate(address=address):
                    self._addresses.deprecate(address)
                case HoldIdentity(address=address):
                    self._addresses.hold(address)
                    self._held.add(address)
                case ReleaseIdentity(address=address):
                    self._addresses.release(address)
                    self._plane.release(address)
                    self._held.discard(address)
                case KeepAddress(address=address, until=until):
                    self._plane.release(address)
                    self._addresses.keep(address, valid=until - time.monotonic_ns())
                case RetireAddress(address=address):
                    self._plane.retire(address)
                    self._addresses.remove(address)
                    self._choose_from()
                case RetireRemote(address=address):
                    self._plane.avoid(address)
                    self._addresses.forget_neighbour(address)
        except (RouteRefusedError, RefusedError) as error:
            self._publish("terminal.refused", action=type(action).__name__, text=str(error))

    async def _add(self, action: AddAddress) -> Call | None:
        address = action.address
        self._adding.add(address)
        self._choose_from()
        self._plane.release(address)
        there = next((one for one in self._addresses.known.addresses if one.address == address), None)
        try:
            await self._addresses.add(address, preferred=action.preferred, valid=action.valid)
        except AddressRefusedError as error:
            self._adding.discard(address)
            refused = error
            return lambda now: self._core.address_refused(address, refused.reason, str(refused), now)
        if there is None or not there.usable:
            return None
        self._adding.discard(address)
        change = AddressChange(Change.ADDED, address, action.preferred, action.valid)
        return lambda now: self._added(change, now)

    def _rewrite(self, action: Rewrite) -> Call | None:
        for one in action.rewritings:
            if one.over:
                self._mtus.pop(one.flow, None)
            elif one.flow in self._mtus and one.out != self._plane.out(one.flow):
                self._tell_mtu(one.out, self._mtus[one.flow])
        try:
            self._plane.rewrite(action.rewritings)
        except RefusedError as error:
            text = str(error)
            return lambda now: self._core.rewrite_failed(action.rewritings, text, now)
        return None

    def _send(self, action: Send) -> None:
        try:
            self._messages.send(action)
        except OSError as error:
            self._publish(
                "message.not-sent", destination=str(action.destination), text=error.strerror or str(error)
            )

    def _close_sockets(self, action: CloseSockets) -> None:
        flow = action.flow
        data: dict[str, Any] = {
            "protocol": flow.protocol,
            "local": f"[{flow.local.address}]:{flow.local.port}",
            "remote": f"[{flow.remote.address}]:{flow.remote.port}",
        }
        try:
            self._publish("sockets.closed", **data, found=self._sockets.destroy(flow))
        except errors.HopbedError as error:
            self._publish("sockets.not-closed", **data, text=str(error))


def _until(wake: int | None) -> float:
    return float("inf") if wake is None else max(wake - time.monotonic_ns(), 0) / 1e9


def _lifetimes(change: AddressChange) -> dict[str, Any]:
    def seconds(duration: int | None) -> float | None:
        return None if duration is None else duration / 1e9

    if change.change not in (Change.ADDED, Change.DEPRECATED):
        return {}
    return {
        "preferred": seconds(change.preferred),
        "valid": seconds(change.valid),
        "advertised": change.advertised,
    }
