"""The program ``python -m nodes.flood START``; see :mod:`nodes.flood`."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Iterable

import msgspec

from nodes import errors
from nodes.events import event
from nodes.flood.forge import packets
from nodes.flood.start import Start
from nodes.program import DONE, READY, run, say

_IPV6_HDRINCL = 36


def send(flood: Iterable[bytes], destination: str, rate: int) -> tuple[int, int]:
    """Send packets at a rate until all are sent, or the standard input ends; how many went, and how many not.

    A slot that was missed is made up for at once: the count is what matters, and a few packets
    more in a row are no less a flood.
    """
    sent = failed = 0
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        begin = time.monotonic()
        for number, packet in enumerate(flood):
            wait = begin + number / rate - time.monotonic()
            if wait > 0 and _told_to_end(wait):
                break
            try:
                raw.sendto(packet, (destination, 0))
                sent += 1
            except OSError:
                failed += 1  # a full queue: the packet is lost, as in any flood
    return sent, failed


def _told_to_end(within: float) -> bool:
    """Whether the standard input ends within so many seconds."""
    readable, _, _ = select.select([0], [], [], within)
    return bool(readable) and not os.read(0, 4096)


def main() -> None:
    """Run the flood."""
    try:
        (text,) = sys.argv[1:]
        start = msgspec.json.decode(text, type=Start)
    except (ValueError, msgspec.DecodeError) as error:
        raise errors.ParameterError(f"flood: not a start: {error}") from None
    say(event(READY, pid=os.getpid()))
    sent, failed = send(packets(start), start.destination, start.rate)
    say(event(DONE, sent=sent, failed=failed))


if __name__ == "__main__":
    run(main)
