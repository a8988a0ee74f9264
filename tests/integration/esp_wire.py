"""The other end's wire without a data plane: ESP and UDP 4500 packets as hexadecimal lines, out and in.

``python esp_wire.py LOCAL REMOTE`` is the program; :class:`Wire` is the test's side of it.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = float(os.environ.get("HOPBED_PATIENCE", "20"))


def program(local, remote):
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.bind((local, 4500))
    esp = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 50)
    esp.bind((local, 0))
    sockets = {"udp": (udp, (remote, 4500)), "esp": (esp, (remote, 0))}
    print("ready", flush=True)
    rest = b""
    while True:
        ready, _, _ = select.select([0, udp, esp], [], [])
        for name, (one, _) in sockets.items():
            if one in ready:
                print(name, one.recv(65536).hex(), flush=True)
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                name, packet = line.decode().split()
                sockets[name][0].sendto(bytes.fromhex(packet), sockets[name][1])


class Wire:
    """The test's side."""

    def __init__(self, process):
        self._process = process
        self._rest = b""

    def send(self, name, packet):
        """Send a packet as ``udp`` (port 4500) or ``esp``."""
        self._process.stdin.write(f"{name} {bytes(packet).hex()}\n".encode())
        self._process.stdin.flush()

    def receive(self, seconds=PATIENCE):
        """How the next packet came, and its octets; None where none comes for so many seconds."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest:
            if not select.select([self._process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
                return None
            self._rest += os.read(self._process.stdout.fileno(), 65536)
        line, self._rest = self._rest.split(b"\n", 1)
        name, packet = line.decode().split()
        return name, bytes.fromhex(packet)


@contextmanager
def esp_wire(nodes, node, local, remote) -> Iterator[Wire]:
    """The wire of a node for the length of the context."""
    argv = nodes.command(node, [sys.executable, __file__, str(local), str(remote)])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield Wire(process)
        process.stdin.close()


if __name__ == "__main__":
    program(*sys.argv[1:])
