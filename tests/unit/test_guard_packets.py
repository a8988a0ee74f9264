"""Which packets reach the guard, by the kernel's own judgement, and what it reads in them."""

import ctypes
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.abnormality.message import AbnormalInformation, build
from nodes.peer.guard import bpf
from nodes.peer.guard.told import version_of
from nodes.peer.guard.wire import Endpoints, Header, read

HERE, THERE = "fd00::a", "fd00::b"
SO_ATTACH_FILTER = 26


def ike(version=0x10, exchange=2, flags=0, *, responder=bytes(8), rest=bytes(80), first=1):
    fields = struct.pack("!BBBBII", first, version, exchange, flags, 0, 28 + len(rest))
    return b"initiatr" + responder + fields + rest


def packet(payload, *, source_port=500, port=500, source=THERE, destination=HERE, following=17):
    addresses = b"".join(socket.inet_pton(socket.AF_INET6, one) for one in (source, destination))
    datagram = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload
    return struct.pack("!IHBB", 6 << 28, len(datagram), following, 64) + addresses + datagram


def message(version=1):
    said = AbnormalInformation(version, b"initiatr", b"respondr", "psk")
    return build(said, message_id=9)


def lets_through(program, octets):
    """Whether the kernel hands a packet over to a socket with this filter."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        instructions = ctypes.create_string_buffer(program, len(program))
        packed = struct.pack("HL", len(program) // 8, ctypes.addressof(instructions))
        far.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, packed)
        far.setblocking(False)
        near.setblocking(False)
        try:
            near.send(octets)
            return far.recv(65536) == octets[: bpf.SNAP]
        except (BlockingIOError, PermissionError):  # a Unix socket tells its sender that it was refused
            return False


NAT_T = {"source_port": 4500, "port": 4500}

NOTABLE = {
    "our message, IKEv1": packet(message(1)),
    "our message, IKEv2": packet(message(2)),
    "our message to port 4500": packet(bytes(4) + message(1), **NAT_T),
    "our message from another port": packet(message(2), source_port=1234),
    "a major version that there is not": packet(ike(version=0xE0)),
    "an exchange that IKEv1 has not": packet(ike(exchange=253)),
    "an exchange that IKEv2 has not": packet(ike(version=0x20, exchange=2)),
    "such a one to port 4500": packet(bytes(4) + ike(version=0x30), **NAT_T),
}
OTHER = {
    "a first message": packet(ike()),
    "an IKE_SA_INIT": packet(ike(version=0x20, exchange=34, flags=8)),
    "an encrypted informational message": packet(ike(exchange=5, flags=1, first=8)),
    "a longer notify": packet(ike(exchange=5, first=11, rest=bytes(39))),
    "ESP in UDP": packet(b"\x12\x34\x56\x78" + bytes(200), **NAT_T),
    "another port": packet(message(1), port=501),
    "TCP": packet(message(1), following=6),
    "too short for a header": packet(bytes(10)),
    "nothing at all": b"",
}


@pytest.mark.parametrize("name", NOTABLE)
def test_the_kernel_hands_over(name):
    assert lets_through(bpf.notable_ike(), NOTABLE[name])


@pytest.mark.parametrize("name", OTHER)
def test_the_kernel_keeps_from_the_guard(name):
    assert not lets_through(bpf.notable_ike(), OTHER[name])


def test_a_socket_that_only_sends_is_handed_nothing():
    assert not lets_through(bpf.nothing(), NOTABLE["our message, IKEv1"])


@pytest.mark.parametrize("ports", [{}, NAT_T])
def test_a_header_is_read_with_both_ends(ports):
    port = ports.get("port", 500)
    payload = (bytes(4) if ports else b"") + ike(responder=b"respondr", flags=1)
    header = read(packet(payload, **ports), incoming=True)
    assert header.ends == Endpoints(HERE, port, THERE, port)
    assert (header.initiator_cookie, header.responder_cookie) == (b"initiatr", b"respondr")
    assert (header.version, header.exchange, header.flags) == (0x10, 2, 1)
    assert header.octets == ike(responder=b"respondr", flags=1)


def test_of_what_goes_out_the_partner_is_the_destination():
    assert read(packet(ike(), source=HERE, destination=THERE), incoming=False).ends.partner == THERE


@given(st.binary(max_size=120))
def test_any_packet_is_read_without_harm(octets):
    read(octets, incoming=True)
    read(b"\x60\0\0\0\0\0\x11" + octets, incoming=True)


@pytest.mark.parametrize(
    ("version", "exchange", "told"),
    [
        (0x10, 2, 1),
        (0x20, 34, 2),
        (0xE0, 2, 1),
        (0xD0, 34, 2),
        (0x10, 253, 1),
        (0x20, 221, 2),
        (0xE0, 250, 2),
    ],
)
def test_a_message_with_a_damaged_header_is_of_the_version_that_the_rest_of_it_says(version, exchange, told):
    header = Header(Endpoints(HERE, 500, THERE, 500), b"i" * 8, bytes(8), version, exchange, 0, b"")
    assert version_of(header) == told
