"""ESP in user space: the program ``python -m nodes.esp`` as the endpoint's data plane."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv6Address

import anyio

from nodes.esp.orders import (
    LARGEST,
    Answer,
    InstallInbound,
    InstallOutbound,
    InstallPolicy,
    Order,
    Ordered,
    Remove,
    RemovePolicy,
    Start,
    TellUsage,
    Totals,
    decoded_message,
    encoded,
    ike_packet,
    ike_parts,
)
from nodes.ike.dataplane.base import (
    DataPlaneError,
    DataPlaneName,
    Direction,
    EspSa,
    IkeDatagram,
    Policy,
    Usage,
)
from nodes.ike.dataplane.cleartext import CleartextFilter
from nodes.ike.dataplane.esp_process import EspProcess, running_esp
from nodes.ike.dataplane.guard import RouteGuard
from nodes.ike.dataplane.streams import Outlet
from nodes.peer.iproute import run_ip

DEVICE = "esp"
MOST_MTU = 1400
"""Of the device, as charon's: sealed, its largest packet fits into 1500 octets by any transform."""
LEAST_MTU = 1280
"""IPv6 has no smaller (RFC 8200, section 5); what is sealed may have to be fragmented then."""


class UserspaceDataPlane:
    """See :class:`~nodes.ike.dataplane.base.DataPlane`; made by :func:`userspace_dataplane`."""

    name: DataPlaneName = "userspace"
    encapsulates = True

    def __init__(self, orders: socket.socket, ike: socket.socket, reason: str) -> None:
        self.reason = reason
        self._orders = orders
        self._ike = ike
        self._guard = RouteGuard(DEVICE)
        self._filter = CleartextFilter(DEVICE)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[anyio.Event, list[Answer]]] = {}
        self._ended: str | None = None
        self._sending = anyio.Lock()
        self._outlet = Outlet()
        self.events, self.ike_messages = self._outlet.events, self._outlet.ike_messages

    @property
    def running(self) -> bool:
        """Whether the program is there still."""
        return self._ended is None

    async def install_policy(self, policy: Policy) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        await self._order(InstallPolicy(policy))
        try:
            await self._filter.hold(policy)
            await self._guard.hold(policy)
        except DataPlaneError:
            await self.remove_policy(policy.reqid)
            raise

    async def remove_policy(self, reqid: int) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        await self._guard.release(reqid)
        await self._order(RemovePolicy(reqid))
        await self._filter.release(reqid)

    async def install_inbound(self, sa: EspSa) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        await self._order(InstallInbound(sa))

    async def install_outbound(self, sa: EspSa) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        await self._order(InstallOutbound(sa))

    async def remove_inbound(self, spi: int) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        await self._order(Remove("in", spi))

    async def remove_outbound(self, spi: int) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        await self._order(Remove("out", spi))

    async def usage(self) -> Mapping[tuple[Direction, int], Usage]:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        answer = await self._order(TellUsage())
        return {(one.direction, one.spi): one.usage for one in answer.usage}

    async def totals(self) -> Totals:
        """What was dropped, apart from any SA."""
        totals = (await self._order(TellUsage())).totals
        if totals is None:
            raise DataPlaneError("the ESP program told no totals")
        return totals

    async def send_ike(self, datagram: IkeDatagram) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        packet = ike_packet(
            datagram.local.packed, datagram.remote.packed, datagram.remote_port, datagram.octets
        )
        with contextlib.suppress(OSError):  # it is behind, or gone: lost, as on the network
            self._ike.send(packet)

    async def _order(self, order: Order) -> Answer:
        """Give an order and wait until it is done.

        Raises:
            DataPlaneError: it was refused, or the program is gone.
        """
        if self._ended is not None:
            raise DataPlaneError(self._ended)
        number, answered, answers = next(self._numbers), anyio.Event(), list[Answer]()
        self._waiting[number] = answered, answers
        try:
            async with self._sending:
                await self._send(encoded(Ordered(number, order)))
            await answered.wait()
        finally:
            del self._waiting[number]
        if not answers:
            raise DataPlaneError(self._ended or "the ESP program is gone")
        if answers[0].refusal is not None:
            raise DataPlaneError(answers[0].refusal)
        return answers[0]

    async def _send(self, packet: bytes) -> None:
        while True:
            try:
                self._orders.send(packet)
            except BlockingIOError:
                await anyio.wait_writable(self._orders)
            except OSError as error:
                raise DataPlaneError(f"the ESP program is gone: {error.strerror}") from None
            else:
                return

    async def _follow_orders(self) -> None:
        """Take answers and events until the program ends."""
        while True:
            await anyio.wait_readable(self._orders)
            try:
                packet = self._orders.recv(LARGEST)
            except BlockingIOError:
                continue
            except ConnectionError:
                packet = b""
            if not packet:
                self._end("the ESP program is gone")
                return
            message = decoded_message(packet)
            if isinstance(message, Answer):
                answered, answers = self._waiting.get(message.number, (None, []))
                answers.append(message)
                if answered is not None:
                    answered.set()
            elif message.event is not None:
                self._outlet.tell(message.event)

    async def _follow_ike(self) -> None:
        """Take IKE messages until the program ends."""
        while True:
            await anyio.wait_readable(self._ike)
            try:
                packet = self._ike.recv(LARGEST)
            except BlockingIOError:
                continue
            except ConnectionError:
                return
            if not packet:
                return
            local, remote, port, octets = ike_parts(packet)
            self._outlet.pass_on(IkeDatagram(octets, IPv6Address(local), IPv6Address(remote), port))

    def _end(self, why: str) -> None:
        self._ended = self._ended or why
        for answered, _ in self._waiting.values():
            answered.set()


@asynccontextmanager
async def userspace_dataplane(
    reason: str = "asked for", *, port: int = 4500, segments: bool = True
) -> AsyncIterator[UserspaceDataPlane]:
    """ESP in user space for the length of the context, which leaves no device, route or process behind.

    Args:
        reason: why it is this data plane.
        port: the UDP port of ESP and IKE.
        segments: hand packets to the kernel many at a time, where it can.

    Raises:
        MachineError: there is no TUN here.
        DataPlaneError: the program did not start, or died meanwhile.
    """
    mtu = inner_mtu(await _link_mtu())
    with contextlib.ExitStack() as sockets:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        for one in itertools.chain(*pairs):
            one.setblocking(False)
            sockets.enter_context(one)
        (orders, their_orders), (ike, their_ike) = pairs
        start = Start(
            orders=their_orders.fileno(),
            ike=their_ike.fileno(),
            device=DEVICE,
            mtu=mtu,
            port=port,
            segments=segments,
        )
        async with running_esp(start, (their_orders, their_ike)) as program:
            await _bring_up(mtu)
            plane = UserspaceDataPlane(orders, ike, reason)
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_watch, plane, program)
                    tasks.start_soon(plane._follow_orders)
                    tasks.start_soon(plane._follow_ike)
                    yield plane
                    tasks.cancel_scope.cancel()
            finally:
                with anyio.CancelScope(shield=True):
                    if plane.running:  # else plaintext stays home: nobody asked for the end
                        await plane._guard.release_all()
                        await plane._filter.release_all()


def inner_mtu(link_mtu: int) -> int:
    """The MTU of the device, for packets that fit into a link of this MTU whatever the transform.

    Around the inner packet: IPv6 and UDP, SPI and sequence number, an IV and a tag of 16 octets. Padding and
    2 octets more fill blocks of 16. It fits from 1384 on.
    """
    room = link_mtu - 40 - 8 - 8 - 16 - 16
    return max(min(room // 16 * 16 - 2, MOST_MTU), LEAST_MTU)


async def _link_mtu() -> int:
    """The least MTU of this node's links."""
    listed = await anyio.run_process(["ip", "-json", "link", "show", "up"], check=False)
    links = json.loads(listed.stdout or b"[]")
    return min((link["mtu"] for link in links if "LOOPBACK" not in link["flags"]), default=1500)


async def _bring_up(mtu: int) -> None:
    for words in (
        ("link", "set", DEVICE, "addrgenmode", "none"),
        ("link", "set", DEVICE, "mtu", str(mtu), "txqueuelen", "2000", "up"),
    ):
        refusal = await run_ip(*words)
        if refusal is not None:
            raise DataPlaneError(f"ip {' '.join(words)}: {refusal}")


async def _watch(plane: UserspaceDataPlane, program: EspProcess) -> None:
    """Wait for the program's end, which nobody asked for: whoever does cancels this first."""
    why = await program.wait()
    plane._end(why)
    raise DataPlaneError(why)
