"""Enemies on the wire of two terminals: what they send, and that it changes nothing."""

import ipaddress
import json
import os

import anyio
import pytest
from two_terminals import (
    COMPOSE,
    A,
    B,
    assert_whole,
    line,
    outcomes,
    pair,
    terminals,
    traffic,
)

from nodes.terminal import model

pytestmark = pytest.mark.anyio

NODES = (A, B, "host")
TESTS = COMPOSE.parent / "tests" / "integration"
MALLORYS = "what only mallory and B know"


async def enemy(bed, source, *arguments, **more):
    """Run a program of a few lines at the plain host, which shares the link."""
    argv = [
        "env",
        f"PYTHONPATH={COMPOSE.parent}",
        *bed.runtime.python,
        "-c",
        COMMON + source,
        *map(str, arguments),
    ]
    return (await bed.node("host").exec(argv, **more)).stdout.decode()


COMMON = """
import os, socket, struct, sys, time
from ipaddress import IPv6Address
from nodes.terminal.actions import UDP, TCP, Carriage, Send
from nodes.terminal.header import destination_options
from nodes.terminal.message import Capability, Kind, Lifetimes, Listed, Message, encode

raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)

def packet(source, destination, next_header, payload):
    source, destination = (IPv6Address(one).packed for one in (source, destination))
    return struct.pack("!IHBB", 6 << 28, len(payload), next_header, 64) + source + destination + payload

def send(source, destination, next_header, payload):
    raw.sendto(packet(source, destination, next_header, payload), (destination, 0))

def forged(kind, number, **more):
    message = Message(kind=kind, context=int.from_bytes(os.urandom(8), "big"), sequence=number, **more)
    return encode(message) + os.urandom(16)
"""

FORGER = """
source, destination, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
ports = [int(one) for one in sys.argv[4:]]
kinds = list(Kind)
for number in range(count):
    listed = tuple(Listed(at, UDP, port, port) for at, port in enumerate(ports))
    message = forged(kinds[number % len(kinds)], number, services=listed, flags=Capability.INTERFACE_ID)
    send(source, destination, 60, destination_options(message))
"""


async def status(bed, node):
    found = await bed.node(node).terminal.status()
    return sorted((one.service, one.wire) for one in found.flows)


async def test_forged_requests_from_a_partners_address_change_nothing_and_are_not_answered():
    async with terminals(nodes=NODES) as bed:
        async with traffic(bed) as flows:
            await bed.node(A).terminal.hop()
            before = await status(bed, B)
            ports = [int(service.rsplit(":", 1)[1]) for service, _ in before]
            for source in (bed.node(A).address, bed.node("host").address):
                await enemy(bed, FORGER, source, bed.node(B).address, 600, *ports)
            assert await status(bed, B) == before
            hopped = await bed.node(A).terminal.hop()
        assert_whole(flows)
        assert hopped.outcomes == {"hopped": 3}


async def test_a_flood_of_forged_messages_while_hops_are_under_way_costs_no_packet():
    count = int(os.environ.get("HOPBED_FLOOD", "10000"))  # 100000 is the long form
    over = anyio.Event()

    async def flood(bed):
        await enemy(bed, FORGER, bed.node(A).address, bed.node(B).address, count)
        over.set()

    async with terminals(nodes=NODES) as bed:
        async with traffic(bed) as flows, anyio.create_task_group() as tasks:
            tasks.start_soon(flood, bed)
            while not over.is_set():
                hopped = await bed.node(A).terminal.hop()
                assert hopped.outcomes == {"hopped": 3}
        assert_whole(flows)


RECORDER = """
import select
frames = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD))
seen = []
print("here", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    if select.select([frames], [], [], 0.01)[0]:
        octets = frames.recv(2000)
        if octets[6] == 60:
            seen.append(octets)
print(len(seen), flush=True)
sys.stdin.readline()
for _ in range(3):
    for octets in seen:
        raw.sendto(octets, (str(IPv6Address(octets[24:40])), 0))
print("replayed", flush=True)
"""


async def test_replayed_messages_of_a_whole_hop_move_nothing_again():
    async with terminals(nodes=NODES) as bed:
        argv = ["env", f"PYTHONPATH={COMPOSE.parent}", *bed.runtime.python, "-c", COMMON + RECORDER]
        async with traffic(bed) as flows:
            recorder = await anyio.open_process(bed.runtime.command(B, argv))
            try:
                assert await line(recorder) == "here"
                first = await bed.node(A).terminal.hop()
                second = await bed.node(A).terminal.hop()
                await recorder.stdin.send(b"\n")
                assert int(await line(recorder)) >= 8
                before = await status(bed, B)
                await recorder.stdin.send(b"\n")
                assert await line(recorder) == "replayed"
                await anyio.sleep(0.3)
                assert await status(bed, B) == before
                third = await bed.node(A).terminal.hop()
            finally:
                if recorder.returncode is None:
                    recorder.kill()
                await recorder.aclose()
        assert_whole(flows)
        assert first.outcomes == second.outcomes == third.outcomes == {"hopped": 3}


UNRECOGNISED = """
# "not recognised" in the partner's name, with a quoted packet that is like ours but none of ours
partner, terminal, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
icmp = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)

def checksum(source, destination, payload):
    octets = IPv6Address(source).packed + IPv6Address(destination).packed
    octets += struct.pack("!II", len(payload), 58) + payload + b"\\0" * (len(payload) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

for number in range(count):
    quoted = packet(terminal, partner, 60, destination_options(forged(Kind.UPDATE_REQUEST, number)))
    for head in (struct.pack("!BBHI", 4, 2, 0, 42), struct.pack("!BBHI", 1, 4, 0, 0)):
        error = head + quoted
        error = error[:2] + struct.pack("!H", checksum(partner, terminal, error)) + error[4:]
        send(partner, terminal, 58, error)
"""


async def test_a_forged_not_recognised_does_not_bring_a_hop_down():
    async with terminals(nodes=NODES) as bed:
        async with traffic(bed) as flows, anyio.create_task_group() as tasks:
            tasks.start_soon(enemy, bed, UNRECOGNISED, bed.node(B).address, bed.node(A).address, 2000)
            for _ in range(5):
                await bed.node(A).terminal.hop()
        assert_whole(flows)
        assert set(outcomes(bed)) == {"hopped"}


SERVER = """
import socket
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("::", 7000))
while True:
    data, peer = server.recvfrom(2000)
    server.sendto(f"{peer[0]} {peer[1]}".encode(), peer)
"""

COUNTER = """
import socket
frames = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD))
print("here", flush=True)
while True:
    octets, (_, _, kind, *_) = frames.recvfrom(2000)
    if kind == socket.PACKET_HOST and octets[6] == 17 and octets[40:42] == (7000).to_bytes(2, "big"):
        print("a datagram of the service", octets.hex(), flush=True)
"""


@pytest.mark.parametrize("what", ["victim", "unsealed", "listed"])
async def test_a_partner_that_is_no_friend(what):
    """It has a secret of its own with B, and the right MACs: that is all it has."""
    async with terminals(nodes=NODES, paired=False) as bed:
        a, b, host = (bed.node(node).address for node in NODES)
        await pair(bed)
        await bed.node(B).terminal.pair(model.Pair(partner="mallory", secret=MALLORYS, addresses=(host,)))
        server = await anyio.open_process(bed.runtime.command(B, [*bed.runtime.python, "-c", SERVER]))
        victim = await anyio.open_process(bed.runtime.command(A, [*bed.runtime.python, "-c", COUNTER]))
        try:
            assert await line(victim) == "here"
            argv = [*bed.runtime.python, str(TESTS / "mallory.py"), b, MALLORYS, host]
            own, second = (str(ipaddress.IPv6Address(host) + more) for more in (2, 1))
            for address in (own, second):
                await bed.node("host").exec(["ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad"])
            other = a if what == "victim" else own
            async with traffic(bed) as flows:
                await bed.node(A).terminal.hop()
                (theirs, _) = (await status(bed, B))[-1]
                port = theirs.rsplit(":", 1)[1]
                command = ["env", f"PYTHONPATH={COMPOSE.parent}", *argv, other, what, "7000", port]
                reports = json.loads((await bed.node("host").exec(command)).stdout)
                hopped = await bed.node(A).terminal.hop()
            assert_whole(flows)
            assert hopped.outcomes == {"hopped": 3}
            results = [data["outcome"] for kind, data in reports if kind == "hop.service"]
            assert results == ["refused" if what == "listed" else "no-answer"]
            with anyio.move_on_after(0.3) as waited:
                await line(victim)
            assert waited.cancelled_caught  # nothing of the service came to the victim
        finally:
            for process in (server, victim):
                process.kill()
                await process.aclose()
