"""One end of a QUIC connection (RFC 9000), by aioquic without its I/O: for the comparison of mechanisms.

A client moves to another address of its node by connection migration (RFC 9000, section 9): it opens a
socket there, takes another connection id, and goes on; the server validates the path. It still reads what
comes to the addresses that it had.
"""

from __future__ import annotations

import datetime
import socket
import ssl
import time
from typing import NamedTuple

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import QuicEvent
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from nodes.traffic.addresses import Address, ipv6_socket
from nodes.traffic.receive_time import ANCILLARY_OCTETS, ask_receive_times, receive_time

ALPN = "hopbed-probes"
DATAGRAM = 1400
"""Octets of the largest datagram, so that with its headers it fits a link of 1500."""
WINDOW = 16 << 20
"""What either end lets the other send ahead, so that flow control is never what limits."""

_ROOM = 4 << 20
LARGEST_DATAGRAM = 65_536
_KEPT_SOCKETS = 4


class Happened(NamedTuple):
    """What a connection tells, and when the kernel received what it tells of, in CLOCK_REALTIME ns."""

    event: QuicEvent
    realtime_ns: int


class QuicEnd:
    """A connection with the sockets that it has at this end, driven by whoever owns it."""

    def __init__(self, connection: QuicConnection, first: socket.socket) -> None:
        self.connection = connection
        self.sockets = [first]

    def descriptors(self) -> list[int]:
        """To wait on before :meth:`advance`."""
        return [one.fileno() for one in self.sockets]

    def patience(self, now: float) -> float | None:
        """Seconds until the connection's timer; None where it has none."""
        timer = self.connection.get_timer()
        return None if timer is None else max(timer - now, 0.0)

    def move_to(self, address: Address) -> None:
        """Go on from another address of this node.

        Raises:
            OSError: it is none, or none that can be used.
        """
        moved = datagram_socket(address)
        self.sockets.insert(0, moved)
        for old in self.sockets[_KEPT_SOCKETS:]:
            old.close()
        del self.sockets[_KEPT_SOCKETS:]
        self.connection.change_connection_id()
        self.connection.send_ping(0)  # the server hears of the new path although nothing may be due

    def advance(self) -> list[Happened]:
        """Take in what came and what is due, send what is to go, and return what happened."""
        happened: list[Happened] = []
        for one in self.sockets:
            self._read(one, happened)
        timer, now = self.connection.get_timer(), time.monotonic()
        if timer is not None and timer <= now:
            self.connection.handle_timer(now)
            self._collect(time.time_ns(), happened)
        self.flush()
        return happened

    def flush(self) -> None:
        """Send what is to go, as far as the node lets it; what it does not, QUIC sends again."""
        for octets, address in self.connection.datagrams_to_send(time.monotonic()):
            try:
                self.sockets[0].sendto(octets, address)
            except OSError:
                continue

    def close(self) -> None:
        """Close the sockets."""
        for one in self.sockets:
            one.close()

    def _read(self, one: socket.socket, happened: list[Happened]) -> None:
        while True:
            try:
                octets, ancillary, _flags, address = one.recvmsg(LARGEST_DATAGRAM, ANCILLARY_OCTETS)
            except (BlockingIOError, ConnectionError):
                return
            except OSError:  # an ICMPv6 error for a datagram before
                continue
            self.connection.receive_datagram(octets, address, time.monotonic())
            self._collect(receive_time(ancillary), happened)

    def _collect(self, realtime_ns: int, happened: list[Happened]) -> None:
        while (event := self.connection.next_event()) is not None:
            happened.append(Happened(event, realtime_ns))


def datagram_socket(address: Address) -> socket.socket:
    """A UDP socket at an address of this node, with room for a burst."""
    made = ipv6_socket(socket.SOCK_DGRAM)
    ask_receive_times(made)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
    try:
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def client_configuration(congestion: str) -> QuicConfiguration:
    """The client's; the server's certificate is made for this connection alone, and proves nothing."""
    return QuicConfiguration(
        alpn_protocols=[ALPN],
        congestion_control_algorithm=congestion,
        max_datagram_size=DATAGRAM,
        max_data=WINDOW,
        max_stream_data=WINDOW,
        verify_mode=ssl.CERT_NONE,
    )


def server_configuration() -> QuicConfiguration:
    """The server's, with a certificate of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, ALPN)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return QuicConfiguration(
        is_client=False,
        alpn_protocols=[ALPN],
        max_datagram_size=DATAGRAM,
        max_data=WINDOW,
        max_stream_data=WINDOW,
        certificate=certificate,
        private_key=key,
    )
