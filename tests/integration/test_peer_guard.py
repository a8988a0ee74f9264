"""What a peer loads is all there or not at all, and without an SA its plaintext stays home."""

import json
import sys

import anyio
import msgspec
import pytest
from two_peers import ENDS, A, B, load, peers, ping

from nodes import errors
from nodes.peer.model import Terminate
from orchestrator.tunnel import CHILD, CONNECTION, credentials, tunnel

pytestmark = pytest.mark.anyio

SEND = """
import json, socket, sys
inner, elsewhere, marker = sys.argv[1:]
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
wire.bind(("eth0", 0x0003))
wire.settimeout(10)
sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
sender.setblocking(False)
blocked = {}
for target in (inner, elsewhere):
    blocked[target] = 0
    for _ in range(100):
        try:
            sender.sendto(bytes(200), (target, 9))
        except BlockingIOError:
            blocked[target] += 1
last = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
last.sendto(b"last", (marker, 9))
seen = set()
while True:
    frame = wire.recv(65535)
    if frame[12:14] != b"\\x86\\xdd":
        continue
    destination = socket.inet_ntop(socket.AF_INET6, frame[38:54])
    seen.add(destination)
    if destination == marker and frame.endswith(b"last"):
        break
print(json.dumps({"blocked": blocked, "seen": sorted(seen)}))
"""
"""Floods two inner addresses without waiting, and tells what of it left the node before a last datagram."""


async def routes_of(bed):
    shown = await bed.node(A).exec(["ip", "-6", "route", "show", "table", "all"])
    return sorted(shown.stdout.splitlines())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"proposals": ("aes128-nonsense",)}, "invalid value for: proposals"),
        ({"auth": "broken key"}, "private key failed"),
    ],
)
async def test_a_connection_that_charon_refuses_leaves_nothing_behind(change, words):
    async with peers() as bed:
        ends = tunnel(bed.plan, A, B, credentials(bed.plan, ENDS, "cert"))
        if "auth" in change:
            broken = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"
            change = {"auth": msgspec.structs.replace(ends.initiator.auth, key=broken)}
        routes = await routes_of(bed)
        with pytest.raises(errors.ParameterError, match=f"charon refuses connection 'tunnel': .*{words}"):
            await bed.node(A).peer.load(msgspec.structs.replace(ends.initiator, **change))
        assert await bed.node(A).peer.list_conns() == []
        assert await routes_of(bed) == routes
        with pytest.raises(errors.ParameterError, match="no connection 'tunnel' is loaded; there are: none"):
            await bed.node(A).peer.initiate(CONNECTION)


async def test_a_connection_that_is_unloaded_takes_its_guard_along():
    async with peers() as bed:
        routes = await routes_of(bed)
        ends = tunnel(bed.plan, A, B, credentials(bed.plan, ENDS, "psk"))
        loaded = await bed.node(A).peer.load(ends.initiator)
        assert loaded.guarded == (str(bed.plan.node(B).inner),)
        assert await routes_of(bed) != routes
        (listed,) = await bed.node(A).peer.list_conns()
        assert (listed.name, listed.version, listed.children) == (CONNECTION, "IKEv2", (CHILD,))
        await bed.node(A).peer.unload(CONNECTION)
        assert await routes_of(bed) == routes
        assert await bed.node(A).peer.list_conns() == []


async def test_without_an_sa_plaintext_neither_leaves_the_node_nor_blocks_its_sender():
    async with peers() as bed:
        node, partner = bed.node(A), bed.node(B)
        unknown = str(bed.plan.network[0xDEAD])  # on the link, and nobody's
        await node.exec(["ip", "-6", "route", "add", "default", "via", partner.address])
        await node.exec(["ip", "-6", "route", "add", f"{unknown}/128", "dev", "eth0"])

        async def send(elsewhere):
            argv = [sys.executable, "-c", SEND, partner.inner_address, elsewhere, partner.address]
            return json.loads((await node.exec(argv)).stdout)

        in_the_clear = await send(unknown)
        assert partner.inner_address in in_the_clear["seen"]  # no connection, no guard: the default route
        assert in_the_clear["blocked"][unknown] > 0  # what the guard spares the sender

        await load(bed)
        guarded = await send(str(bed.plan.network.network_address + (1 << 80)))
        assert partner.inner_address not in guarded["seen"]
        assert guarded["blocked"][partner.inner_address] == 0

        await node.peer.initiate(CONNECTION)
        assert await ping(bed, A, B)
        await node.peer.terminate(Terminate(connection=CONNECTION))
        again = await send(str(bed.plan.network.network_address + (1 << 80)))
        assert partner.inner_address not in again["seen"]
        assert again["blocked"][partner.inner_address] == 0


CONNECTED = """
import socket, sys
sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sender.bind((sys.argv[1], 0))
sender.connect((sys.argv[2], 9))
sender.send(b"before")
print("sent", flush=True)
sys.stdin.readline()
sender.send(b"after")
"""
"""Holds a connected socket that has sent before there was an SA, and sends again when it is told."""


async def test_a_connected_socket_from_before_the_sa_uses_it_afterwards():
    async with peers() as bed:
        await load(bed)
        near, far = bed.node(A), bed.node(B)
        argv = [sys.executable, "-c", CONNECTED, near.inner_address, far.inner_address]
        async with await anyio.open_process(bed.runtime.command(A, argv)) as socket_user:
            assert (await socket_user.stdout.receive()).startswith(b"sent")
            await near.peer.initiate(CONNECTION)
            await socket_user.stdin.send(b"\n")
            await socket_user.wait()
        (sa,) = await near.peer.list_sas()
        assert sa.children[0].packets_out == 1
