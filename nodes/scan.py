"""``python -m nodes.scan ORDER``: looks for hosts and open ports, as an attacker on the link would.

Three ways: ICMPv6 echo, TCP connections, and UDP datagrams that a closed port answers with an error (RFC
4443, 3.1, code 4). Whatever answers in any of them is *alive*; a port that takes a connection is *open*.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable
from typing import Annotated

import msgspec

from nodes import errors
from nodes.events import event
from nodes.program import DONE, READY, run, say
from nodes.traffic.addresses import ipv6_socket

Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]

_ECHO_REQUEST, _ECHO_REPLY = 128, 129
_ECHO = struct.Struct("!BBHHH")
_IDENTIFIER = 0x5CA4
_IN_FLIGHT = 400
_TRIES = 3


class Scan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to scan.

    Attributes:
        addresses: to be asked for by echo.
        targets: to be scanned for ports as well.
        tcp_ports, udp_ports: of the targets.
        patience: s that an answer may take.
    """

    addresses: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    tcp_ports: tuple[Port, ...] = ()
    udp_ports: tuple[Port, ...] = ()
    patience: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0


class Found(msgspec.Struct, kw_only=True):
    """What answered at one address."""

    echo: bool = False
    tcp_open: list[int] = []
    tcp_closed: int = 0
    udp_closed: int = 0

    @property
    def alive(self) -> bool:
        """Whether anything answered."""
        return self.echo or bool(self.tcp_open) or self.tcp_closed > 0 or self.udp_closed > 0


def _echo(addresses: Iterable[str], patience: float) -> set[str]:
    """The addresses that answer an echo request."""
    waiting = set(addresses)
    answered: set[str] = set()
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        for number in range(_TRIES):
            for address in waiting - answered:
                try:
                    raw.sendto(_ECHO.pack(_ECHO_REQUEST, 0, 0, _IDENTIFIER, number), (address, 0))
                except OSError:  # no room, or nobody is there: the next try
                    continue
            ends = time.monotonic() + patience / _TRIES
            # What came in time counts, however late this program gets to it.
            while waiting - answered and select.select([raw], [], [], max(ends - time.monotonic(), 0.0))[0]:
                octets, source = raw.recvfrom(2048)
                if len(octets) >= _ECHO.size:
                    kind, _code, _sum, identifier, _sequence = _ECHO.unpack_from(octets)
                    if (kind, identifier) == (_ECHO_REPLY, _IDENTIFIER):
                        answered.add(source[0].partition("%")[0])
    return answered & waiting


class _Connecting:
    """TCP connections under way, a bounded number at a time."""

    def __init__(self, found: dict[str, Found], patience: float) -> None:
        self._found = found
        self._patience = patience
        self._poll = select.poll()
        self._under_way: dict[int, tuple[socket.socket, str, int, float]] = {}

    def scan(self, ends: Iterable[tuple[str, int]]) -> None:
        for address, port in ends:
            while len(self._under_way) >= _IN_FLIGHT:
                self._settle()
            self._begin(address, port)
        while self._under_way:
            self._settle()

    def _begin(self, address: str, port: int) -> None:
        one = ipv6_socket(socket.SOCK_STREAM)
        error = one.connect_ex((address, port))
        if error in (0, errno.EINPROGRESS):
            deadline = time.monotonic() + self._patience
            self._under_way[one.fileno()] = (one, address, port, deadline)
            self._poll.register(one, select.POLLOUT)
        else:
            self._note(address, port, error)
            one.close()

    def _settle(self) -> None:
        first = next(iter(self._under_way.values()))
        now = time.monotonic()  # before the look: what came in time counts, however late this program is
        for fd, _ in self._poll.poll(max(first[3] - now, 0.0) * 1e3):
            one, address, port, _deadline = self._end(fd)
            self._note(address, port, one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            one.close()
        for fd in [fd for fd, entry in self._under_way.items() if entry[3] <= now]:
            self._end(fd)[0].close()

    def _end(self, fd: int) -> tuple[socket.socket, str, int, float]:
        self._poll.unregister(fd)
        return self._under_way.pop(fd)

    def _note(self, address: str, port: int, error: int) -> None:
        if error == 0:
            self._found[address].tcp_open.append(port)
        elif error == errno.ECONNREFUSED:
            self._found[address].tcp_closed += 1


def _udp(found: dict[str, Found], ports: Iterable[int], patience: float) -> None:
    """Count the ports that say that they are closed."""
    sockets: dict[int, tuple[socket.socket, str]] = {}
    poll = select.poll()
    try:
        for address in found:
            for port in ports:
                one = ipv6_socket(socket.SOCK_DGRAM)
                sockets[one.fileno()] = one, address
                poll.register(one, select.POLLIN)
                with contextlib.suppress(OSError):  # nobody is there, as far as the node knows
                    one.connect((address, port))
                    one.send(b"hopbed scan")
        ends = time.monotonic() + patience
        while sockets and (told := poll.poll(max(ends - time.monotonic(), 0.0) * 1e3)):
            for fd, _ in told:
                one, address = sockets.pop(fd)
                poll.unregister(fd)
                if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED:
                    found[address].udp_closed += 1
                one.close()
    finally:
        for one, _ in sockets.values():
            one.close()


def scan(order: Scan) -> dict[str, Found]:
    """What answers, by address; also of those where nothing does."""
    found = {address: Found() for address in order.targets}
    answered = _echo({*order.addresses, *order.targets}, order.patience)
    _Connecting(found, order.patience).scan(
        (address, port) for address in order.targets for port in order.tcp_ports
    )
    _udp(found, order.udp_ports, order.patience)
    for address in (*order.addresses, *order.targets):
        found.setdefault(address, Found()).echo = address in answered
    return found


def main() -> None:
    """Scan, and say what was found."""
    try:
        (text,) = sys.argv[1:]
        order = msgspec.json.decode(text, type=Scan)
    except (ValueError, msgspec.DecodeError) as error:
        raise errors.ParameterError(f"scan: not an order: {error}") from None
    say(event(READY))
    found = scan(order)
    say(event(DONE, found={address: msgspec.to_builtins(one) for address, one in found.items()}))


if __name__ == "__main__":
    run(main)
