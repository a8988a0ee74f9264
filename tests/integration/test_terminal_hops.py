"""Addresses hop under live flows, and nothing is lost."""

import ipaddress
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from two_terminals import (
    HEARD,
    A,
    B,
    assert_whole,
    hops_done,
    kill_daemon,
    line,
    network,
    other_prefixes,
    outcomes,
    said,
    terminals,
    traffic,
)

from nodes.terminal import model

pytestmark = pytest.mark.anyio

LOOSE_SERVER = """
import socket
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("::", 7000))
print("bound", flush=True)
while True:
    data, peer = server.recvfrom(2000)
    server.sendto(data, peer)
"""

LOOSE_CLIENT = """
import select, socket, sys, time
client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
client.bind(("::", 0))
sent = received = 0
due = time.monotonic()
while not select.select([sys.stdin], [], [], 0)[0]:
    due += 0.005
    time.sleep(max(0, due - time.monotonic()))
    client.sendto(b"%d" % sent, (sys.argv[1], 7000))
    sent += 1
    while select.select([client], [], [], 0.001)[0]:
        client.recv(100)
        received += 1
    print(received, flush=True)
while received < sent and select.select([client], [], [], 5)[0]:
    client.recv(100)
    received += 1
print("end", sent, received, flush=True)
"""


class Client:
    """A program in a node that counts what came back to it."""

    def __init__(self, process):
        self.process = process
        self.buffered = BufferedByteReceiveStream(process.stdout)

    async def until(self, more):
        """Until this many more datagrams came back."""
        wanted = int(await self.line()) + more
        while int(await self.line()) < wanted:
            pass

    async def line(self):
        return (await self.buffered.receive_until(b"\n", 100)).decode()

    async def end(self):
        """How many were sent and came back in all."""
        await self.process.stdin.send(b"\n")
        while not (line := await self.line()).startswith("end"):
            pass
        return [int(one) for one in line.split()[1:]]


@asynccontextmanager
async def talking(bed, server, client, destination):
    """A server at B, a client at A, and an echo every 20 ms for 4 s."""
    processes = []

    async def start(node, *argv):
        processes.append(await anyio.open_process(bed.runtime.command(node, argv)))
        return processes[-1]

    try:
        served = await start(B, *bed.runtime.python, "-c", server)
        assert await BufferedByteReceiveStream(served.stdout).receive_until(b"\n", 100) == b"bound"
        talks = await start(A, *bed.runtime.python, "-c", client, destination)
        pings = await start(A, "ping", "-6", "-n", "-q", "-c", "200", "-i", "0.02", destination)
        yield Client(talks), pings
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def test_one_hop_takes_live_flows_along_and_tells_its_phases(runtime):
    async with terminals(runtime=runtime) as bed:
        first = bed.node(A).address
        async with traffic(bed) as flows:
            hopped = await bed.node(A).terminal.hop()
            await anyio.sleep(0.2)
            status = await bed.node(A).terminal.status()
        assert_whole(flows)
        assert hopped.first == first
        assert hopped.outcomes == {"hopped": 3}
        assert hopped.retired
        phases = [
            hopped.phases_ms[one] for one in ("answered", "prepared", "switched", "acknowledged", "closed")
        ]
        assert phases == sorted(phases)
        assert [one.address for one in status.addresses] == [hopped.second]
        assert {one.wire.split(" > ")[0] for one in status.flows} == {hopped.second}
        assert {one.service.split("[")[1].split("]")[0] for one in status.flows} == {first}


async def test_both_ends_hop_at_once():
    async with terminals() as bed, traffic(bed) as flows:
        schedule = model.Schedule(hops=15, period=0.1, jitter=0.03)
        for node in (A, B):
            await bed.node(node).terminal.schedule(schedule)
        for node in (A, B):
            await hops_done(bed, node)
    assert_whole(flows)
    for node in (A, B):
        assert set(outcomes(bed, node)) == {"hopped"}
        assert len(said(bed, "hop.closed", node)) == 15


async def test_a_hop_with_other_ports_and_flow_labels_on_the_wire_keeps_the_flows():
    async with terminals() as bed, traffic(bed) as flows:
        for node in (A, B, A):
            await bed.node(node).terminal.hop(model.Hop(move_ports=True, flow_labels=True))
    assert_whole(flows)
    assert set(outcomes(bed, A)) == set(outcomes(bed, B)) == {"hopped"}


@pytest.mark.parametrize("phase", ["hop.started", "hop.answered", "hop.prepared", "hop.switched"])
async def test_the_first_terminals_daemon_killed_in_the_middle_of_a_hop_goes_on_with_it(phase):
    async with terminals() as bed:
        async with traffic(bed) as flows:
            await bed.node(A).terminal.schedule(model.Schedule(hops=3, period=0.2))
            await bed.events.wait_for(phase, node=A, timeout=HEARD)
            since = await kill_daemon(bed, A)
            await bed.events.wait_for("terminal.restarted", node=A, since=since, timeout=HEARD)
            await hops_done(bed)
            status = await bed.node(A).terminal.status()
        assert_whole(flows)
        assert set(outcomes(bed)) == {"hopped"}
        assert len(status.addresses) == 1


@pytest.mark.parametrize("phase", ["hop.asked", "hop.answered", "hop.prepared"])
async def test_the_second_terminals_daemon_killed_in_the_middle_of_a_hop_costs_no_packet(phase):
    """While it is dead its kernel does not recognise requests: a service may stay where it is."""
    async with terminals() as bed:
        async with traffic(bed) as flows:
            await bed.node(A).terminal.schedule(model.Schedule(hops=3, period=0.2))
            await bed.events.wait_for(phase, node=A, timeout=HEARD)
            since = await kill_daemon(bed, B)
            await bed.events.wait_for("terminal.restarted", node=B, since=since, timeout=HEARD)
            await hops_done(bed)
        assert_whole(flows)
        assert set(outcomes(bed)) <= {"hopped", "not-recognised", "no-answer"}


async def test_the_kernels_own_lifetimes_drive_the_hops():
    async with terminals() as bed:
        async with traffic(bed) as flows:
            await bed.node(A).terminal.schedule(model.Schedule(hops=2, preferred=1, valid=2))
            await hops_done(bed)
        assert_whole(flows)
        assert set(outcomes(bed)) == {"hopped"}
        first, _ = said(bed, "hop.closed", A)
        deprecated = [
            one for one in said(bed, "address.deprecated", A) if one.data["address"] == first.data["first"]
        ]
        expired = [
            one for one in said(bed, "address.expired", A) if one.data["address"] == first.data["first"]
        ]
        (asked,) = [one for one in said(bed, "hop.asked", A) if one.data["hop"] == 1]
        (switched,) = [one for one in said(bed, "hop.switched", A) if one.data["hop"] == 1]
        assert deprecated[0].time_ns < asked.time_ns < expired[0].time_ns < switched.time_ns


@pytest.mark.parametrize("kind", ["prefix", "both"])
async def test_prefixes_hop_that_are_on_the_link(kind):
    async with terminals() as bed:
        prefixes = other_prefixes(bed, 2)
        for node in (A, B):
            await bed.node(node).terminal.link(model.Link(prefixes=prefixes))
        async with traffic(bed) as flows:
            await bed.node(A).terminal.schedule(
                model.Schedule(hops=5, period=0.1, kind=kind, prefixes=prefixes)
            )
            await hops_done(bed)
        assert_whole(flows)
        assert set(outcomes(bed)) == {"hopped"}
        seconds = [one.data["second"] for one in said(bed, "hop.closed", A)]
        assert len(seconds) == 5
        assert {network(one) for one in seconds} == set(prefixes)
        interface_ids = {int(ipaddress.IPv6Address(one)) & (1 << 64) - 1 for one in seconds}
        assert len(interface_ids) == (1 if kind == "prefix" else 5)


async def test_messages_travel_by_udp_where_that_is_asked_for():
    async with terminals() as bed:
        async with traffic(bed) as flows:
            hopped = await bed.node(A).terminal.hop(model.Hop(carriage="udp"))
        assert_whole(flows)
        assert hopped.outcomes == {"hopped": 3}


async def test_udp_is_the_fallback_where_the_path_drops_extension_headers():
    async with terminals() as bed:
        drop = "table ip6 path { chain c { type filter hook output priority 0; ip6 nexthdr 60 drop; }; }"
        await bed.node(A).exec(["nft", "-f", "-"], stdin=drop.encode())
        async with traffic(bed) as flows:
            hopped = await bed.node(A).terminal.hop(model.Hop(fallback=True))
        assert_whole(flows)
        assert hopped.outcomes == {"hopped": 3}


async def test_a_socket_without_a_connection_and_an_echo_hop_too():
    async with terminals() as bed:
        async with talking(bed, LOOSE_SERVER, LOOSE_CLIENT, bed.node(B).address) as (client, ping):
            await client.until(5)
            for _ in range(3):
                hopped = await bed.node(A).terminal.hop()
                await client.until(5)
            sent, received = await client.end()
            summary = b"".join([data async for data in ping.stdout]).decode()
        assert hopped.outcomes == {"hopped": 2}
        assert sent == received
        assert ", 0% packet loss" in summary, summary


WATCHER = """
# counts packets on the wire, and those of them that have an address anywhere in them, once told to begin
import select, socket, sys
from ipaddress import IPv6Address
frames = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD))
wanted = IPv6Address(sys.argv[1]).packed
print("here", flush=True)
sys.stdin.readline()
while select.select([frames], [], [], 0)[0]:
    frames.recv(2000)
count = bearing = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    if select.select([frames], [], [], 0.01)[0]:
        octets = frames.recv(2000)
        count += 1
        bearing += wanted in octets
print(count, bearing, flush=True)
"""


async def test_after_the_close_no_packet_bears_the_first_address_and_nobody_reaches_it():
    async with terminals() as bed:
        first = bed.node(A).address
        argv = [*bed.runtime.python, "-c", WATCHER, first]
        async with traffic(bed) as flows:
            watcher = await anyio.open_process(bed.runtime.command(B, argv))
            try:
                assert await line(watcher) == "here"
                await bed.node(A).terminal.hop()
                await watcher.stdin.send(b"\n")
                await anyio.sleep(1)
                await watcher.stdin.send(b"\n")
                count, bearing = (int(one) for one in (await line(watcher)).split())
            finally:
                if watcher.returncode is None:
                    watcher.kill()
                await watcher.aclose()
            pinged = await bed.node(B).exec(
                ["ping", "-6", "-c", "2", "-i", "0.2", "-W", "1", first], check=False
            )
        assert_whole(flows)
        assert count > 200
        assert bearing == 0
        assert pinged.returncode != 0
