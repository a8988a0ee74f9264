"""ESP in the kernel: states and policies by ``ip xfrm``, what happens by netlink."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv6Address
from pathlib import Path
from typing import Literal

import anyio

from nodes.ike.dataplane import xfrm_words as words
from nodes.ike.dataplane.base import (
    DataPlaneError,
    DataPlaneName,
    Direction,
    EspSa,
    FirstPacket,
    IkeDatagram,
    LimitReached,
    NoSa,
    Policy,
    Usage,
)
from nodes.ike.dataplane.encap_socket import EncapSocket
from nodes.ike.dataplane.guard import RouteGuard
from nodes.ike.dataplane.streams import Outlet
from nodes.ike.dataplane.xfrm_messages import (
    ACQUIRE_GROUP,
    AEVENT_GROUP,
    EXPIRE_GROUP,
    NETLINK_XFRM,
    NEVER,
    Acquire,
    Done,
    Expire,
    Sequence,
    State,
    list_states,
    tell_sequence_numbers,
    told,
)
from nodes.peer.iproute import run_ip

_CHUNK = 1 << 20
_BUFFER = 4 << 20
_SO_RCVBUFFORCE = 33
_ACQUIRE_EVERY_NS = 1_000_000_000
_SYSCTLS = {"xfrm_larval_drop": "0", "xfrm_acq_expires": "1"}
"""Hold what waits for an SA (100 packets a policy), and ask for the SA again each second, not each 30."""

Key = tuple[Direction, int]


class KernelDataPlane:
    """See :class:`~nodes.ike.dataplane.base.DataPlane`; made by :func:`kernel_dataplane`."""

    name: DataPlaneName = "kernel"
    encapsulates = True

    def __init__(self, encap: EncapSocket, reason: str) -> None:
        self.reason = reason
        self._outlet = Outlet()
        self.events, self.ike_messages = self._outlet.events, self._outlet.ike_messages
        self._encap = encap
        self._policies: dict[int, Policy] = {}
        self._routes = RouteGuard()
        self._sas: dict[Key, EspSa] = {}
        self._unseen: set[int] = set()  # inbound SAs whose first packet is to be told
        self._limits_told: set[tuple[Key, str, str]] = set()
        self._acquired_ns: dict[int, int] = {}
        self._last: dict[Key, tuple[int, int]] = {}  # packets, and when there were more than before
        self._requests = _netlink(0)
        self._asking = anyio.Lock()
        self._happenings = _netlink(ACQUIRE_GROUP | EXPIRE_GROUP)
        # apart, and only while a first packet is awaited: these may be many
        self._sequences = _netlink(AEVENT_GROUP)

    async def install_policy(self, policy: Policy) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        there = self._policies.get(policy.reqid)
        if there == policy:
            return
        if there is not None:
            raise DataPlaneError(f"reqid {policy.reqid} is that of another policy")
        try:
            await _batch(*words.policies("add", policy))
            await self._routes.hold(policy)
        except DataPlaneError:
            await _batch(*words.policies("delete", policy), force=True)
            raise
        self._policies[policy.reqid] = policy

    async def remove_policy(self, reqid: int) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        policy = self._policies.pop(reqid, None)
        self._acquired_ns.pop(reqid, None)
        if policy is not None:
            await self._routes.release(reqid)
            await _batch(*words.policies("delete", policy))

    async def install_inbound(self, sa: EspSa) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        await self._install(sa, "in")

    async def install_outbound(self, sa: EspSa) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        await self._install(sa, "out")
        if sa.reqid in self._policies:
            await _batch(words.release(self._policies[sa.reqid]))

    async def remove_inbound(self, spi: int) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        self._unseen.discard(spi)
        await self._remove(("in", spi))

    async def remove_outbound(self, spi: int) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        await self._remove(("out", spi))

    async def usage(self) -> Mapping[Key, Usage]:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        states = {(state.destination, state.spi): state for state in await self._states()}
        now_ns = time.monotonic_ns()
        used = {}
        for (direction, spi), sa in self._sas.items():
            state = states.get((_destination(sa, direction), spi))
            if state is not None:
                # the kernel tells the first use of a state, and only kernels from 6.2 on the last
                before, last_ns = self._last.get((direction, spi), (0, 0))
                if state.packets != before:
                    last_ns = now_ns
                self._last[direction, spi] = state.packets, last_ns
                used[direction, spi] = Usage(
                    packets=state.packets,
                    octets=state.octets,
                    auth_failures=state.failures,
                    replays=state.replays,
                    last_ns=last_ns,
                )
        return used

    async def send_ike(self, datagram: IkeDatagram) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        self._encap.send(datagram)

    async def _install(self, sa: EspSa, direction: Direction) -> None:
        key: Key = (direction, sa.spi)
        if key in self._sas:
            raise DataPlaneError(f"an SA {direction}bound with the SPI {sa.spi:08x} is installed already")
        # what is known before the state is: an event may come at once
        self._sas[key] = sa
        awaited = direction == "in"
        if awaited:
            self._unseen.add(sa.spi)
        try:
            await _batch(words.add_state(sa, direction))
            await self._ask(
                tell_sequence_numbers(_destination(sa, direction), sa.spi, 1 if awaited else NEVER)
            )
        except BaseException:
            with anyio.CancelScope(shield=True):
                self._unseen.discard(sa.spi)
                await self._remove(key)
            raise

    async def _remove(self, key: Key) -> None:
        sa = self._sas.pop(key, None)
        self._last.pop(key, None)
        self._limits_told = {one for one in self._limits_told if one[0] != key}
        if sa is not None:
            # a hard limit may have taken it already
            await _batch(words.delete_state(sa, key[0]), force=True)

    async def _states(self) -> list[State]:
        return [one for one in await self._ask(list_states()) if isinstance(one, State)]

    async def _ask(self, request: bytes) -> list[State | Done]:
        """Ask the kernel, and return its answer.

        Raises:
            DataPlaneError: it refused.
        """
        answer: list[State | Done] = []
        async with self._asking:
            self._requests.send(request)
            while not answer or not isinstance(answer[-1], Done):
                await anyio.wait_readable(self._requests)
                answer += [one for one in told(self._requests.recv(_CHUNK)) if isinstance(one, State | Done)]
        ended = answer[-1]
        if isinstance(ended, Done) and ended.number:
            raise DataPlaneError(f"the kernel refuses: {os.strerror(ended.number)}")
        return answer

    async def _follow_happenings(self) -> None:
        while True:
            await anyio.wait_readable(self._happenings)
            try:
                datagram = self._happenings.recv(_CHUNK)
            except OSError as error:
                if error.errno in (errno.ENOBUFS, errno.EAGAIN):
                    continue  # some are lost: an acquire comes again, hard limits show
                raise
            for one in told(datagram):
                if isinstance(one, Acquire):
                    self._acquired(one)
                elif isinstance(one, Expire):
                    self._expired(one)

    async def _follow_sequences(self) -> None:
        while True:
            await anyio.wait_readable(self._sequences)
            try:
                datagram = self._sequences.recv(_CHUNK)
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.EAGAIN):
                    raise
                await self._look_for_first_packets()
                continue
            for one in told(datagram):
                if isinstance(one, Sequence):
                    await self._seen(one.destination, one.spi)

    async def _look_for_first_packets(self) -> None:
        """Find first packets whose telling was lost."""
        for state in await self._states():
            if state.packets:
                await self._seen(state.destination, state.spi)

    async def _seen(self, destination: IPv6Address, spi: int) -> None:
        sa = self._sas.get(("in", spi))
        if sa is None or spi not in self._unseen or destination != sa.local:
            return
        self._unseen.discard(spi)
        self._outlet.tell(FirstPacket(spi, time.monotonic_ns()))
        with contextlib.suppress(DataPlaneError):  # it may be gone again
            await self._ask(tell_sequence_numbers(destination, spi, NEVER))

    def _acquired(self, acquire: Acquire) -> None:
        """Tell that there is no SA, unless one is installed and waits to be effective."""
        now_ns = time.monotonic_ns()
        fitting = [
            policy
            for policy in self._policies.values()
            if acquire.source in policy.local_ts and acquire.destination in policy.remote_ts
        ]
        if not fitting:
            return
        policy = max(fitting, key=lambda one: (one.remote_ts.prefixlen, one.local_ts.prefixlen))
        if any(sa.reqid == policy.reqid for sa in self._sas.values()):
            return
        last = self._acquired_ns.get(policy.reqid)
        if last is None or now_ns - last >= _ACQUIRE_EVERY_NS:
            self._acquired_ns[policy.reqid] = now_ns
            self._outlet.tell(NoSa(policy.reqid, acquire.source, acquire.destination, now_ns))

    def _expired(self, expire: Expire) -> None:
        directions: tuple[Direction, ...] = ("in", "out")
        for direction in directions:
            sa = self._sas.get((direction, expire.spi))
            if sa is not None and _destination(sa, direction) == expire.destination:
                self._tell_limits(sa, direction, expire)

    def _tell_limits(self, sa: EspSa, direction: Direction, expire: Expire) -> None:
        """Tell each limit that is reached, once; the kernel does not say which it is."""
        severity: Literal["soft", "hard"] = "hard" if expire.hard else "soft"
        limits = {
            ("packets", "soft"): (expire.packets, sa.limits.soft_packets),
            ("octets", "soft"): (expire.octets, sa.limits.soft_octets),
            ("packets", "hard"): (expire.packets, sa.limits.hard_packets),
            ("octets", "hard"): (expire.octets, sa.limits.hard_octets),
        }
        units: tuple[Literal["packets", "octets"], ...] = ("packets", "octets")
        for unit in units:
            carried, limit = limits[unit, severity]
            once = ((direction, sa.spi), unit, severity)
            if limit and carried >= limit and once not in self._limits_told:
                self._limits_told.add(once)
                self._outlet.tell(LimitReached(sa.spi, direction, unit, severity, time.monotonic_ns()))

    async def _follow_ike(self) -> None:
        async for datagram in self._encap.datagrams():
            self._outlet.pass_on(datagram)

    async def _end(self) -> None:
        for key in list(self._sas):
            await self._remove(key)
        for reqid in list(self._policies):
            with contextlib.suppress(DataPlaneError):
                await self.remove_policy(reqid)
        for one in (self._requests, self._happenings, self._sequences):
            anyio.notify_closing(one)
            one.close()


@asynccontextmanager
async def kernel_dataplane(reason: str = "asked for", *, port: int = 4500) -> AsyncIterator[KernelDataPlane]:
    """ESP in the kernel for the length of the context, which leaves no state and no policy behind.

    Args:
        reason: why it is this data plane.
        port: the UDP port of ESP and IKE.

    Raises:
        MachineError: the kernel has no XFRM.
        DataPlaneError: the port is taken.
    """
    for name, value in _SYSCTLS.items():
        with contextlib.suppress(OSError):  # a user namespace has none: then the kernel holds nothing
            Path(f"/proc/sys/net/core/{name}").write_text(value)
    with EncapSocket(port, kernel_esp=True) as encap:
        plane = KernelDataPlane(encap, reason)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(plane._follow_happenings)
                tasks.start_soon(plane._follow_sequences)
                tasks.start_soon(plane._follow_ike)
                yield plane
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await plane._end()


def _destination(sa: EspSa, direction: Direction) -> IPv6Address:
    return sa.local if direction == "in" else sa.remote


async def _batch(*lines: str, force: bool = False) -> None:
    """Have ``ip`` do these lines.

    Raises:
        DataPlaneError: it refused one, unless ``force``; the text names no key.
    """
    refusal = await run_ip(*(("-force",) if force else ()), "-batch", "-", batch="\n".join(lines) + "\n")
    if refusal is not None and not force:
        what = " ".join(lines[0].split()[:3])
        raise DataPlaneError(f"ip {what}: {refusal}")


def _netlink(groups: int) -> socket.socket:
    one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM)
    one.setblocking(False)
    with contextlib.suppress(PermissionError):
        one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    one.bind((0, groups))
    return one
