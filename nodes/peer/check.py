"""``python -m nodes.peer.check auto|kernel|userspace``: whether a peer could run in these namespaces.

A program under the contract of :mod:`nodes.program`: it says ``done`` with the data plane and why it is
this one, or ``failed`` with what is missing.
"""

from __future__ import annotations

import sys
from typing import Literal

import anyio
import msgspec

from nodes.events import event
from nodes.peer import dataplane, installation
from nodes.program import DONE, run, say


def main() -> None:
    """Look for charon, then try the data planes."""
    wanted = msgspec.convert(sys.argv[1], Literal["auto", "kernel", "userspace"])
    choice = anyio.run(dataplane.choose, wanted, installation.find().plugins)
    say(event(DONE, dataplane=choice.dataplane, reason=choice.reason))


if __name__ == "__main__":
    run(main)
