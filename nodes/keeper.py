"""What keeps a node's agent alive: it starts the agent again when something killed it.

The keeper is the process that the node begins with. It forks the agent and does nothing else than wait, so
there is little that could end it; a node whose keeper dies is dead. It holds what outlives an agent: the
listening control socket, in whose queue connections wait for the next agent, and the orders of lasting
effect.

An agent that ends by itself, with whatever status, is not started again: it said why it ended.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from nodes.control.server import PrivateSocket
from nodes.events import event
from nodes.program import say

DIED = "agent.died"
RESTARTED = "agent.restarted"
MOST_DEATHS = 5
"""Deaths within :data:`DEATHS_WITHIN` seconds after which the agent is not started again."""
DEATHS_WITHIN = 30.0
NAME = "agent-keeper"
"""What ``ps`` calls it; its command line is the agent's."""
_ENDING = (signal.SIGTERM, signal.SIGINT)


class _Order(msgspec.Struct, frozen=True):
    name: str
    method: str
    params: msgspec.Raw


class Orders:
    """Orders of lasting effect, for the next life of whoever was told them.

    They hold secrets, and so are kept in memory that has no name in any file system (memfd_create(2)).
    """

    def __init__(self) -> None:
        self._fd = os.memfd_create("orders")

    def keep(self, name: str, method: str, params: Any) -> None:
        """Keep an order, in place of the one that had this name."""
        line = msgspec.json.encode(_Order(name, method, msgspec.Raw(msgspec.json.encode(params))))
        # the line feed before it ends what a writer that was killed left unfinished
        os.pwrite(self._fd, b"\n" + line + b"\n", os.fstat(self._fd).st_size)

    def all(self) -> dict[str, tuple[str, msgspec.Raw]]:
        """Method and parameter of each order, by its name, in the order in which the names came."""
        found: dict[str, tuple[str, msgspec.Raw]] = {}
        for line in os.pread(self._fd, os.fstat(self._fd).st_size, 0).splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                order = msgspec.json.decode(line, type=_Order)
                found[order.name] = (order.method, order.params)
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Life:
    """One life of an agent, and what its keeper gives it.

    Attributes:
        number: 0 is the first one.
        control: the socket that the agent serves.
        orders: what lives before this one were told.
    """

    number: int
    control: PrivateSocket
    orders: Orders


def keep(node: str, control: PrivateSocket) -> Life:
    """Fork the agent, and again after each violent death; returns in the agent's process alone.

    SIGTERM and SIGINT are handed on. The keeper ends with the agent: with its exit status, or with 128 and
    the number of the signal that killed it for the last time.
    """
    orders = Orders()
    deaths: collections.deque[float] = collections.deque(maxlen=MOST_DEATHS)
    told = False
    child = 0

    def hand_on(number: int, _frame: object) -> None:
        nonlocal told
        told = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for ending in _ENDING:
        signal.signal(ending, hand_on)
    Path("/proc/self/comm").write_text(NAME)
    for number in range(sys.maxsize):
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        child = os.fork()
        if not child:
            for ending in _ENDING:
                signal.signal(ending, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
            Path("/proc/self/comm").write_text("agent")
            return Life(number=number, control=control, orders=orders)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code >= 0 or told:
            break
        deaths.append(time.monotonic())
        say(event(DIED, node=node, status=code))
        if len(deaths) == MOST_DEATHS and deaths[-1] - deaths[0] < DEATHS_WITHIN:
            break
    control.close()
    os._exit(code if code >= 0 else 128 - code)
