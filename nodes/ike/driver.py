"""Runs the endpoint's core: sockets, the clock and the data plane on one side, its outputs on the other."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc

from nodes.ike.context import (
    NAT_T_PORT,
    EspKeyMaterial,
    Happened,
    IkeKeyMaterial,
    Order,
    Path,
    Result,
    Send,
)
from nodes.ike.dataplane.base import DataPlane, DataPlaneError, EspSa, IkeDatagram, Policy
from nodes.ike.endpoint import Endpoint
from nodes.ike.ike_socket import IkeSocket
from nodes.ike.key_log import KeyLog
from nodes.role import Publish


class Driver:
    """Carries out what the core asks for, and tells it what happens. Made by :func:`driving`.

    Orders are carried out one after the other; datagrams and events do not wait for them.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        plane: DataPlane,
        sock: IkeSocket,
        publish: Publish,
        keys: KeyLog | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.plane = plane
        self._socket = sock
        self._publish = publish
        self._keys = keys
        self._changed = anyio.Event()
        self._orders, self._pending = anyio.create_memory_object_stream[Order | anyio.Event](math.inf)
        self._datagrams, self._outbox = anyio.create_memory_object_stream[Send](math.inf)

    @staticmethod
    def now() -> float:
        """The core's clock: CLOCK_MONOTONIC in seconds."""
        return time.monotonic()

    def drain(self) -> None:
        """Begin to carry out what the core asks for; called after every call to the core."""
        outputs = self.endpoint.outputs
        while outputs:
            match outputs.popleft():
                case Send() as send:
                    self._datagrams.send_nowait(send)
                case Happened(kind, data):
                    self._publish(kind, **data)
                case Order() as order:
                    self._orders.send_nowait(order)
                case IkeKeyMaterial() | EspKeyMaterial() as material:
                    if self._keys is not None:
                        self._keys.write(material)
        self._changed.set()

    async def settle(self) -> None:
        """Wait until every order that has been given is done."""
        reached = anyio.Event()
        self._orders.send_nowait(reached)
        await reached.wait()

    async def send_out(self) -> None:
        """Send the core's datagrams."""
        async for path, datagram in self._outbox:
            if path.local_port == NAT_T_PORT:
                await self.plane.send_ike(IkeDatagram(datagram, path.local, path.remote, path.remote_port))
            else:
                self._socket.send(path, datagram)

    async def carry_out(self) -> None:
        """Carry out the core's orders, each when the one before is done."""
        async for order in self._pending:
            if isinstance(order, anyio.Event):
                order.set()
                continue
            try:
                result = await self._carry_out(order)
            except DataPlaneError as error:
                result = Result(error=str(error))
                self._publish("dataplane.refused", order=order.verb, text=str(error))
            self.endpoint.completed(order.number, result, self.now())
            self.drain()

    async def _carry_out(self, order: Order) -> Result:
        plane = self.plane
        match order.verb, order.argument:
            case "install_policy", Policy() as policy:
                await plane.install_policy(policy)
            case "remove_policy", int(reqid):
                await plane.remove_policy(reqid)
            case "install_inbound", EspSa() as sa:
                await plane.install_inbound(sa)
            case "install_outbound", EspSa() as sa:
                await plane.install_outbound(sa)
            case "remove_inbound", int(spi):
                await plane.remove_inbound(spi)
            case "remove_outbound", int(spi):
                await plane.remove_outbound(spi)
            case "usage", None:
                return Result(usage=await plane.usage())
            case _:
                raise AssertionError(order)
        return Result()

    async def hear_port_500(self) -> None:
        """Take datagrams from port 500."""
        while True:
            datagram, path = await self._socket.receive()
            self.endpoint.receive(datagram, path, self.now())
            self.drain()

    async def hear_port_4500(self) -> None:
        """Take IKE messages from port 4500."""
        async for message in self.plane.ike_messages:
            path = Path(message.local, NAT_T_PORT, message.remote, message.remote_port)
            self.endpoint.receive(message.octets, path, self.now())
            self.drain()

    async def hear_dataplane(self) -> None:
        """Take what the data plane tells."""
        async for event in self.plane.events:
            self.endpoint.told(event, self.now())
            self.drain()

    async def keep_time(self) -> None:
        """Wake the core when something is due."""
        while True:
            self._changed = anyio.Event()
            wake = self.endpoint.next_wake()
            with anyio.move_on_after(math.inf if wake is None else max(0.0, wake - self.now())):
                await self._changed.wait()
            wake, now = self.endpoint.next_wake(), self.now()
            if wake is not None and wake <= now:
                self.endpoint.tick(now)
                self.drain()


@asynccontextmanager
async def driving(
    endpoint: Endpoint,
    plane: DataPlane,
    sock: IkeSocket,
    publish: Publish,
    keys: KeyLog | None = None,
) -> AsyncIterator[Driver]:
    """Run the core for the length of the context.

    Raises:
        DataPlaneError: the data plane died meanwhile.
    """
    driver = Driver(endpoint, plane, sock, publish, keys)
    async with anyio.create_task_group() as tasks:
        for task in (
            driver.hear_port_500,
            driver.hear_port_4500,
            driver.hear_dataplane,
            driver.carry_out,
            driver.send_out,
            driver.keep_time,
        ):
            tasks.start_soon(task)
        yield driver
        tasks.cancel_scope.cancel()
