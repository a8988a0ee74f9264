"""The program that carries ESP: one process, one loop, so that IKE never waits for ESP, nor ESP for IKE."""

from __future__ import annotations

import collections
import os
import select
import socket
import sys
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Final

import msgspec

from nodes import errors
from nodes.esp.orders import (
    LARGEST,
    Answer,
    InstallInbound,
    InstallOutbound,
    InstallPolicy,
    Message,
    Order,
    Remove,
    RemovePolicy,
    Start,
    Told,
    Totals,
    UsageOfSa,
    decoded_order,
    encoded,
    ike_packet,
    ike_parts,
)
from nodes.esp.path import pktinfo
from nodes.esp.plane import Plane, PlaneError
from nodes.esp.receiving import Receiver
from nodes.esp.sending import Sender
from nodes.esp.tun import open_tun
from nodes.esp.wire import Wire
from nodes.events import event
from nodes.program import DONE, READY, say

_MESSAGES: Final = 64
"""IKE messages that are passed on before ESP has its turn."""


class Program:
    """A plane between its device, its sockets and whoever gives the orders."""

    def __init__(self, start: Start) -> None:
        self._orders = socket.socket(fileno=start.orders)
        self._ike = socket.socket(fileno=start.ike)
        for pair in (self._orders, self._ike):
            pair.setblocking(False)
        self._unsaid: collections.deque[bytes] = collections.deque()
        self._plane = Plane()
        self._tun = open_tun(start.device)
        self._wire = Wire(start.port, segments=start.segments)
        self._sender = Sender(self._plane, self._tun, self._wire, start.mtu)
        self._receiver = Receiver(self._plane, self._tun, self._to_agent, coalesce=start.coalesce)
        self._told_to_end = False
        self._poll = select.epoll()
        for source in (0, self._orders, self._ike, self._tun, self._wire.udp, self._wire.esp):
            self._poll.register(source, select.EPOLLIN)

    def until_told_to_end(self) -> None:
        """Carry packets until the end of the standard input, or of the orders."""
        serve: dict[int, Callable[[], None]] = {
            0: self._read_end,
            self._orders.fileno(): self._read_orders,
            self._ike.fileno(): self._from_agent,
            self._tun: self._sender.pump,
            self._wire.udp.fileno(): lambda: self._receiver.pump_udp(self._wire.udp),
            self._wire.esp.fileno(): lambda: self._receiver.pump_esp(self._wire.esp),
        }
        while not self._told_to_end:
            for descriptor, _ in self._poll.poll():
                serve[descriptor]()
            while self._plane.events:
                self._say(Told.of(self._plane.events.popleft()))
            self._say_rest()

    def totals(self) -> Totals:
        """What was dropped, apart from any SA."""
        return Totals(
            unprotected=self._plane.unprotected,
            unknown_spi=self._plane.unknown_spi,
            lost=self._plane.lost,
            unsent=self._wire.unsent,
            undelivered=self._receiver.undelivered,
        )

    def _read_end(self) -> None:
        self._told_to_end = self._told_to_end or not os.read(0, 4096)

    def _read_orders(self) -> None:
        try:
            packet = self._orders.recv(LARGEST)
        except (BlockingIOError, ConnectionError):
            return
        if not packet:
            self._told_to_end = True
            return
        try:
            ordered = decoded_order(packet)
        except (msgspec.DecodeError, ValueError) as error:
            raise errors.ProtocolError(f"not an order: {error}") from None
        try:
            self._say(self._obey(ordered.number, ordered.order))
        except PlaneError as error:
            self._say(Answer(ordered.number, refusal=str(error)))

    def _obey(self, number: int, order: Order) -> Answer:
        plane = self._plane
        if isinstance(order, InstallPolicy):
            plane.install_policy(order.policy)
        elif isinstance(order, RemovePolicy):
            plane.remove_policy(order.reqid)
        elif isinstance(order, InstallInbound):
            plane.install_inbound(order.sa)
        elif isinstance(order, InstallOutbound):
            plane.install_outbound(order.sa)
            self._sender.release(order.sa.reqid)
        elif isinstance(order, Remove):
            (plane.remove_inbound if order.direction == "in" else plane.remove_outbound)(order.spi)
        else:
            used = tuple(UsageOfSa(*which, usage) for which, usage in plane.usage().items())
            return Answer(number, usage=used, totals=self.totals())
        return Answer(number)

    def _say(self, message: Message) -> None:
        self._unsaid.append(encoded(message))

    def _say_rest(self) -> None:
        """Say what is to be said; where the other side is slow, the rest waits, and packets do not."""
        while self._unsaid:
            try:
                self._orders.send(self._unsaid[0])
            except BlockingIOError:
                self._poll.modify(self._orders, select.EPOLLIN | select.EPOLLOUT)
                return
            except ConnectionError:
                self._told_to_end = True
                return
            self._unsaid.popleft()
        self._poll.modify(self._orders, select.EPOLLIN)

    def _to_agent(self, local: bytes, remote: bytes, port: int, message: memoryview) -> None:
        try:
            self._ike.send(ike_packet(local, remote, port, message))
        except OSError:
            return  # the agent is behind: as on the network, what there is no room for is lost

    def _from_agent(self) -> None:
        for _ in range(_MESSAGES):
            try:
                packet = self._ike.recv(LARGEST)
            except (BlockingIOError, ConnectionError):
                return
            if not packet:
                self._told_to_end = True
                return
            local, remote, port, message = ike_parts(packet)
            self._wire.send_ike(pktinfo(IPv6Address(local)), (str(IPv6Address(remote)), port), message)


def main() -> None:
    """Run the program."""
    try:
        (text,) = sys.argv[1:]
        start = msgspec.json.decode(text, type=Start)
    except (ValueError, msgspec.DecodeError) as error:
        raise errors.ParameterError(f"esp: not a start: {error}") from None
    program = Program(start)
    say(event(READY, pid=os.getpid()))
    program.until_told_to_end()
    say(event(DONE, **msgspec.to_builtins(program.totals())))
