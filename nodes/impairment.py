"""What a link does to all that a node sends: the program ``python -m nodes.impairment ORDER``.

It makes the link bad or takes it down, says ``ready``, and makes it good again at the end of its standard
input, so that whatever ends the one who started it mends the link.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from nodes import errors
from nodes.events import event
from nodes.program import DONE, READY, run, say

NO_NETEM = (
    "this kernel has no netem, on which impairment rests: modprobe sch_netem (on Ubuntu after apt-get "
    'install linux-modules-extra-"$(uname -r)"), or a kernel with CONFIG_NET_SCH_NETEM'
)
_NO_TC = "tc is not there; install it with `apt-get install iproute2`"
_NOT_PERMITTED = "this user may not change links here; it takes root, or the capability CAP_NET_ADMIN"
_UNKNOWN_KIND = "qdisc kind is unknown"
_RTMGRP_LINK = 1
_CARRIER_TIMEOUT = 3.0
_ROOM = 100_000
"""Packets that may wait in netem; its default, 1,000, is a loss of its own at 10,000 packets/s and 100 ms."""

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=60)]


class Impairment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to the packets that a node sends; each of them on its own.

    Attributes:
        loss: the share of packets that is lost, 0 to 1.
        delay: s.
        jitter: by how much the delay varies, s; packets overtake each other where it is more than what is
            between them.
        reorder: the share of packets that goes at once, before those that are delayed, 0 to 1.
        rate: bit/s, of the octets on the link; None is as fast as it goes.
    """

    loss: Share = 0.0
    delay: Seconds = 0.0
    jitter: Seconds = 0.0
    reorder: Share = 0.0
    rate: Annotated[int, msgspec.Meta(ge=1000)] | None = None

    def __post_init__(self) -> None:
        """Refuse what netem cannot do.

        Raises:
            ValueError: it impairs nothing, or varies or overtakes a delay that is not there.
        """
        if not (self.loss or self.delay or self.rate):
            raise ValueError("an impairment needs a loss, a delay or a rate")
        if (self.jitter or self.reorder) and not self.delay:
            raise ValueError("jitter and reorder need a delay")


class Impair(msgspec.Struct, frozen=True, kw_only=True, tag="impair"):
    """Impair what goes out through an interface."""

    interface: str
    impairment: Impairment


class LinkDown(msgspec.Struct, frozen=True, kw_only=True, tag="link-down"):
    """Take an interface down, by its index."""

    index: int


def netem(impairment: Impairment) -> list[str]:
    """The words of tc-netem(8) for an impairment."""
    words = ["netem", "limit", str(_ROOM)]
    if impairment.delay:
        words += ["delay", _microseconds(impairment.delay)]
        words += [_microseconds(impairment.jitter)] if impairment.jitter else []
    if impairment.loss:
        words += ["loss", "random", f"{impairment.loss:.6%}"]
    if impairment.reorder:
        words += ["reorder", f"{impairment.reorder:.6%}"]
    if impairment.rate is not None:
        words += ["rate", f"{impairment.rate}bit"]
    return words


def _microseconds(seconds: float) -> str:
    return f"{round(seconds * 1e6)}us"


def _call(argv: Sequence[str]) -> str:
    """The output of a command.

    Raises:
        MachineError: it is not installed, this user may not, or the kernel has no netem.
        NodeError: it failed.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise errors.MachineError(_NO_TC) from None
    if done.returncode == 0:
        return done.stdout
    said = " ".join(done.stderr.split())
    if _UNKNOWN_KIND in said:
        raise errors.MachineError(NO_NETEM)
    if "Operation not permitted" in said:
        raise errors.MachineError(_NOT_PERMITTED)
    raise errors.NodeError(f"{' '.join(argv)}: {said}")


def _impair(order: Impair) -> dict[str, Any]:
    device = ["dev", order.interface]
    _call(["tc", "qdisc", "replace", *device, "root", *netem(order.impairment)])
    try:
        _until_told_to_end()
        (found,) = [
            one
            for one in msgspec.json.decode(_call(["tc", "-s", "-j", "qdisc", "show", *device]))
            if one.get("kind") == "netem"
        ]
    finally:
        _call(["tc", "qdisc", "del", *device, "root"])
    return {"packets": found["packets"], "lost": found["drops"]}


def _link_down(order: LinkDown) -> dict[str, Any]:
    name = socket.if_indextoname(order.index)
    _call(["ip", "link", "set", "dev", name, "down"])
    try:
        _until_told_to_end()
    finally:
        has_carrier = _up(name)
    return {"interface": name, "carrier": has_carrier}


def _up(name: str) -> bool:
    """Take an interface up, and wait for its carrier, which the kernel may tell of up to 1 s late."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as news:
        news.bind((0, _RTMGRP_LINK))
        news.settimeout(_CARRIER_TIMEOUT)  # nobody promises that the node has its own end up
        _call(["ip", "link", "set", "dev", name, "up"])
        while not _has_carrier(name):
            try:
                news.recv(65536)
            except TimeoutError:
                return False
    return True


def _has_carrier(name: str) -> bool:
    (link,) = msgspec.json.decode(_call(["ip", "-j", "link", "show", "dev", name]))
    return bool(link["operstate"] == "UP")


def _until_told_to_end() -> None:
    say(event(READY))
    while os.read(0, 4096):
        pass


def main() -> None:
    """Impair, or take down, until the end of the standard input."""
    try:
        (text,) = sys.argv[1:]
        order = msgspec.json.decode(text, type=Impair | LinkDown)
    except (ValueError, msgspec.DecodeError) as error:
        raise errors.ParameterError(f"impairment: not an order: {error}") from None
    results = _impair(order) if isinstance(order, Impair) else _link_down(order)
    say(event(DONE, **results))


if __name__ == "__main__":
    run(main)
