"""ESP in user space: the program ``python -m nodes.esp`` as the endpoint's data plane."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv6Address

import anyio
import anyio.abc
import msgspec

from nodes import errors
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
from nodes.events import Event
from nodes.ike.dataplane.base import (
    DataPlaneError,
    DataPlaneName,
    Direction,
    EspSa,
    IkeDatagram,
    Policy,
    Usage,
)
from nodes.ike.dataplane.guard import RouteGuard
from nodes.ike.dataplane.streams import Outlet
from nodes.peer.iproute import run_ip
from nodes.program import READY, error_of

DEVICE = "esp"
MTU = 1400
"""Of the device: sealed, its largest packet fits into 1500 octets by any transform, as charon's does."""
START_TIMEOUT = 20.0
STOP_TIMEOUT = 5.0


class UserspaceDataPlane:
    """See :class:`~nodes.ike.dataplane.base.DataPlane`; made by :func:`userspace_dataplane`."""

    name: DataPlaneName = "userspace"
    encapsulates = True

    def __init__(self, orders: socket.socket, ike: socket.socket, reason: str) -> None:
        self.reason = reason
        self._orders = orders
        self._ike = ike
        self._guard = RouteGuard(DEVICE)
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
            await self._guard.hold(policy)
        except DataPlaneError:
            await self.remove_policy(policy.reqid)
            raise

    async def remove_policy(self, reqid: int) -> None:
        """See :class:`~nodes.ike.dataplane.base.DataPlane`."""
        await self._guard.release(reqid)
        await self._order(RemovePolicy(reqid))

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
    reason: str = "asked for", *, port: int = 4500, mtu: int = MTU, segments: bool = True
) -> AsyncIterator[UserspaceDataPlane]:
    """ESP in user space for the length of the context, which leaves no device, route or process behind.

    Args:
        reason: why it is this data plane.
        port: the UDP port of ESP and IKE.
        mtu: of the TUN device.
        segments: hand packets to the kernel many at a time, where it can.

    Raises:
        MachineError: there is no TUN here.
        DataPlaneError: the program did not start, or died meanwhile.
    """
    ours, theirs = zip(
        *(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)), strict=True
    )
    for one in ours:
        one.setblocking(False)
    start = Start(
        orders=theirs[0].fileno(),
        ike=theirs[1].fileno(),
        device=DEVICE,
        mtu=mtu,
        port=port,
        segments=segments,
    )
    with contextlib.ExitStack() as sockets:
        for one in ours:
            sockets.enter_context(one)
        try:
            process = await anyio.open_process(
                [
                    *("setpriv", "--pdeathsig", "KILL", "--"),
                    *(sys.executable, "-m", "nodes.esp", msgspec.json.encode(start).decode()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None,
                pass_fds=[one.fileno() for one in theirs],
                start_new_session=True,
            )
        finally:
            for one in theirs:
                one.close()
        plane = UserspaceDataPlane(ours[0], ours[1], reason)
        try:
            await _until_ready(process)
            await _bring_up(mtu)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_watch, plane, process)
                tasks.start_soon(plane._follow_orders)
                tasks.start_soon(plane._follow_ike)
                yield plane
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                if plane.running:  # else plaintext stays home: nobody asked for the end
                    await plane._guard.release_all()
                await _stop(process)


async def _until_ready(process: anyio.abc.Process) -> None:
    assert process.stdout is not None
    line = b""
    with anyio.move_on_after(START_TIMEOUT), contextlib.suppress(anyio.EndOfStream):
        while not line.endswith(b"\n"):
            line += await process.stdout.receive()
    try:
        said = msgspec.json.decode(line, type=Event)
    except msgspec.DecodeError:
        raise DataPlaneError(f"the ESP program did not start: it said {line[:200]!r}") from None
    if said.kind != READY:
        raise error_of(said)


async def _bring_up(mtu: int) -> None:
    for words in (
        ("link", "set", DEVICE, "addrgenmode", "none"),
        ("link", "set", DEVICE, "mtu", str(mtu), "txqueuelen", "2000", "up"),
    ):
        refusal = await run_ip(*words)
        if refusal is not None:
            raise DataPlaneError(f"ip {' '.join(words)}: {refusal}")


async def _watch(plane: UserspaceDataPlane, process: anyio.abc.Process) -> None:
    """Wait for the program's end, which nobody asked for: whoever does cancels this first."""
    assert process.stdout is not None
    said = b""
    with contextlib.suppress(anyio.EndOfStream, anyio.ClosedResourceError):
        while True:
            said = (said + await process.stdout.receive())[-4096:]
    status = await process.wait()
    why = f"the ESP program ended with status {status}"
    for line in said.splitlines():
        with contextlib.suppress(msgspec.DecodeError, errors.HopbedError, KeyError, json.JSONDecodeError):
            why += f": {msgspec.json.decode(line, type=Event).data['text']}"
    plane._end(why)
    raise DataPlaneError(why)


async def _stop(process: anyio.abc.Process) -> None:
    """End the program as its contract says; what does not end is killed."""
    assert process.stdin is not None
    await process.stdin.aclose()
    with anyio.move_on_after(STOP_TIMEOUT):
        await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    await process.aclose()
