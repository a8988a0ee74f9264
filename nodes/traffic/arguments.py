"""The command lines of the sender and the receiver."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from nodes import errors
from nodes.traffic.probe import MAX_SIZE, MIN_SIZE

MIN_RATE = 10
MAX_RATE = 10_000


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise errors.UsageError(f"{self.prog}: {message}")


def between(low: float, high: float) -> Callable[[str], int]:
    """A whole number from ``low`` to ``high``."""

    def whole_number(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{number} is not from {low:g} to {high:g}")
        return number

    return whole_number


def seconds(text: str) -> float:
    """A time above 0, in seconds."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no time above 0")
    return number


def ipv6(text: str) -> str:
    """An IPv6 address, in its shortest form; a scope after ``%`` may follow."""
    return str(ipaddress.IPv6Address(text))


def flow_id(text: str) -> int:
    """The 64 bits of a flow's id, in hexadecimal."""
    number = int(text, 16)
    if not 0 < number < 2**64:
        raise argparse.ArgumentTypeError(f"{text} is no flow id of 64 bits")
    return number


def parser(program: str) -> argparse.ArgumentParser:
    """The arguments that both ends of a flow have."""
    both = _Parser(prog=f"python -m nodes.traffic.{program}", allow_abbrev=False)
    both.add_argument("transport", choices=("udp", "tcp", "mptcp", "quic"))
    both.add_argument("--flow-id", type=flow_id, required=True, metavar="HEX", help="64 bits, not 0")
    both.add_argument("--size", type=between(MIN_SIZE, MAX_SIZE), default=200, help="octets of a probe")
    both.add_argument("--log", type=Path, required=True, metavar="FILE", help="is made; must not exist")
    return both


def sender_arguments() -> argparse.Namespace:
    """The sender's arguments, from the command line.

    Raises:
        UsageError: they are wrong; the text says which.
    """
    sender = parser("send")
    sender.add_argument("--destination", type=ipv6, required=True, metavar="ADDRESS")
    sender.add_argument("--port", type=between(1, 65_535), required=True)
    sender.add_argument("--source", type=ipv6, metavar="ADDRESS", help="send from this address of the node")
    sender.add_argument("--rate", type=between(MIN_RATE, MAX_RATE), required=True, help="probes per second")
    sender.add_argument("--count", type=between(1, 2**40), metavar="N", help="end after N probes")
    sender.add_argument("--duration", type=seconds, metavar="SECONDS", help="end after this time")
    sender.add_argument("--held", action="store_true", help="send only once told to begin")
    sender.add_argument("--connect-timeout", type=seconds, default=10.0, metavar="SECONDS", help="tcp only")
    sender.add_argument(
        "--user-timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="tcp only: the connection ends when nothing is acknowledged for so long (TCP_USER_TIMEOUT)",
    )
    sender.add_argument("--congestion", metavar="NAME", help="tcp and mptcp: the congestion control")
    return sender.parse_args()


def receiver_arguments() -> argparse.Namespace:
    """The receiver's arguments, from the command line.

    Raises:
        UsageError: they are wrong; the text says which.
    """
    receiver = parser("receive")
    receiver.add_argument("--address", type=ipv6, default="::", help="the node's address to receive on")
    receiver.add_argument("--port", type=between(0, 65_535), default=0, help="0: any free one")
    receiver.add_argument(
        "--quiet",
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="once told how many probes to expect, end this long after the last that arrived",
    )
    return receiver.parse_args()
