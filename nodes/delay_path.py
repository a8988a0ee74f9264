"""``python -m nodes.delay_path ORDER``: delays what passes between a node and the bridge, without netem.

It runs at the bridge, takes the node's port out of the bridge, and carries every frame across itself, each
after the delay. A packet socket with PACKET_VNET_HDR (packet(7)) brings along what is left to offload
hardware: checksums that are not computed yet, and segments that are not cut yet; they go on as they were, so
that no offload has to be turned off, and one frame may be 64 kB.

At the end of its standard input the port returns to the bridge. If it is killed, the node stays cut off from
the bridge, and everything goes with the run.
"""

from __future__ import annotations

import collections
import contextlib
import select
import socket
import subprocess
import sys
import time
from typing import Annotated, Any

import msgspec

from nodes import errors
from nodes.events import event
from nodes.program import DONE, READY, run, say

_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 1, 15, 23
_PROMISCUOUS = 1
_ETH_P_ALL = 3
_VNET_HEADER = 10
_LARGEST = 1 << 17
_SOCKET_ROOM = 32 << 20
_MULTICAST = 1
_UNFORWARDED = bytes.fromhex("0180c20000")
"""Begins the group addresses that a bridge does not forward (IEEE 802.1D, 7.12.6)."""
_BATCH = 64
_QUEUE = 200_000
"""Frames that may wait each way; what comes then is dropped, and counted."""


class DelayPath(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to delay.

    Attributes:
        port: the index, at the bridge, of the node's port.
        mac: the node's own address on the link.
        delay: of every frame each way, s.
    """

    port: int
    mac: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}\Z")]
    delay: Annotated[float, msgspec.Meta(gt=0, le=10)]


class _Way:
    """One direction: frames from one packet socket to another, each after the delay."""

    def __init__(self, source: socket.socket, sink: socket.socket, delay: float, mac: bytes | None) -> None:
        self.source = source
        self.frames = 0
        self.dropped = 0
        self._sink = sink
        self._delay = delay
        self._mac = mac
        self._waiting: collections.deque[tuple[float, bytes]] = collections.deque()

    def take(self) -> None:
        """Take in what has come; ``mac``, where there is one, is the only station beyond."""
        for _ in range(_BATCH):
            try:
                frame = self.source.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError:  # the link is down
                return
            if self._is_for_the_other_side(frame[_VNET_HEADER : _VNET_HEADER + 6]):
                if len(self._waiting) < _QUEUE:
                    self._waiting.append((time.monotonic() + self._delay, frame))
                else:
                    self.dropped += 1

    def send_due(self) -> None:
        """Send every frame whose delay is over."""
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, frame = self._waiting.popleft()
            try:
                self._sink.send(frame)
                self.frames += 1
            except OSError:  # no room in the device, or a link that is down
                self.dropped += 1

    @property
    def due(self) -> float | None:
        """When the next frame is to go."""
        return self._waiting[0][0] if self._waiting else None

    def _is_for_the_other_side(self, destination: bytes) -> bool:
        if destination.startswith(_UNFORWARDED):
            return False
        return self._mac is None or destination == self._mac or bool(destination[0] & _MULTICAST)


def _packet_socket(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    made.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    made.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, _SOCKET_ROOM)
    with contextlib.suppress(OSError, AttributeError):  # SO_RCVBUFFORCE is root's
        made.setsockopt(socket.SOL_SOCKET, 33, _SOCKET_ROOM)
        made.setsockopt(socket.SOL_SOCKET, 32, _SOCKET_ROOM)
    made.bind((interface, _ETH_P_ALL))
    membership = socket.if_nametoindex(interface).to_bytes(4, sys.byteorder)
    membership += _PROMISCUOUS.to_bytes(2, sys.byteorder) + bytes(10)
    made.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
    return made


def _call(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise errors.NodeError(f"{' '.join(argv)}: {' '.join(done.stderr.split())}")
    return done.stdout


def _bridge_of(port: str) -> str:
    (link,) = msgspec.json.decode(_call("ip", "-json", "link", "show", "dev", port))
    if "master" not in link:
        raise errors.NodeError(f"{port} is no port of a bridge; is its path delayed already?")
    return str(link["master"])


def _carry(ways: tuple[_Way, _Way]) -> None:
    """Carry frames until the end of the standard input."""
    sources = [way.source.fileno() for way in ways]
    while True:
        due = [way.due for way in ways if way.due is not None]
        wait = max(min(due) - time.monotonic(), 0.0) if due else None
        ready, _, _ = select.select([0, *sources], [], [], wait)
        if 0 in ready:
            return
        for way in ways:
            if way.source.fileno() in ready:
                way.take()
            way.send_due()


def _delay(order: DelayPath) -> dict[str, Any]:
    port = socket.if_indextoname(order.port)
    bridge = _bridge_of(port)
    mac = bytes.fromhex(order.mac.replace(":", ""))
    fdb = [order.mac, "dev", bridge, "self", "permanent"]
    with contextlib.ExitStack() as stack:
        near, far = (stack.enter_context(_packet_socket(one)) for one in (port, bridge))
        # a port that is no longer a bridge's would get addresses of its own
        _call("ip", "link", "set", "dev", port, "addrgenmode", "none")
        stack.callback(_call, "ip", "link", "set", "dev", port, "addrgenmode", "eui64")
        _call("ip", "link", "set", "dev", port, "nomaster")
        stack.callback(_call, "ip", "link", "set", "dev", port, "master", bridge)
        _call(
            "bridge", "fdb", "add", *fdb
        )  # the bridge hands over what is for the node, and floods it nowhere
        stack.callback(_call, "bridge", "fdb", "del", *fdb)
        ways = _Way(near, far, order.delay, None), _Way(far, near, order.delay, mac)
        say(event(READY))
        _carry(ways)
    return {
        "from_node": ways[0].frames,
        "to_node": ways[1].frames,
        "dropped": ways[0].dropped + ways[1].dropped,
    }


def main() -> None:
    """Delay, until the end of the standard input."""
    try:
        (text,) = sys.argv[1:]
        order = msgspec.json.decode(text, type=DelayPath)
    except (ValueError, msgspec.DecodeError) as error:
        raise errors.ParameterError(f"delay path: not an order: {error}") from None
    say(event(DONE, **_delay(order)))


if __name__ == "__main__":
    run(main)
