"""What negotiations cost a peer's daemon: half-open IKE SAs, memory and CPU time, while it runs."""

from __future__ import annotations

import dataclasses

import anyio

from nodes import errors
from nodes.ike.model import Status as EndpointStatus
from nodes.peer import model
from orchestrator.node import Node
from orchestrator.testbed import Testbed
from orchestrator.topology.plan import RoleName

PERIOD = 0.5
"""Seconds from one look to the next: half-open SAs come and go without an event."""
LAST = 12.0
"""Seconds at the end of a watch that say what is left: longer than one attempt with short timers lasts."""


@dataclasses.dataclass
class DaemonFigures:
    """Of one daemon.

    Attributes:
        half_open: IKE SAs that are not established, by the time of the look (anyio's clock).
        memory: the resident set in octets at the last look; likewise ``memory_start`` and ``memory_peak``.
        cpu_seconds: CPU time since the watch began, of user and system together.
        slowest_look: the longest time in seconds that the daemon took to answer a look.
    """

    half_open: dict[float, int] = dataclasses.field(default_factory=dict)
    memory: int = 0
    memory_start: int = 0
    memory_peak: int = 0
    cpu_seconds: float = 0.0
    slowest_look: float = 0.0

    @property
    def half_open_peak(self) -> int:
        """The most half-open IKE SAs at any look."""
        return max(self.half_open.values(), default=0)

    @property
    def half_open_left(self) -> int:
        """The fewest half-open IKE SAs in the last :data:`LAST` seconds: those that never went away."""
        last = max(self.half_open, default=0.0) - LAST
        return min((number for time, number in self.half_open.items() if time >= last), default=0)


class DaemonWatch:
    """Looks at the daemons of some peers again and again.

    Attributes:
        figures: by node.
    """

    def __init__(self, bed: Testbed, nodes: tuple[str, ...]) -> None:
        self.figures = {node: DaemonFigures() for node in nodes}
        self._bed = bed
        self._cpu_start: dict[str, float] = {}

    async def begin(self) -> None:
        """The first look, from which memory and CPU time count."""
        for node, figures in self.figures.items():
            await self.look(node)
            figures.memory_start = figures.memory_peak = figures.memory
            figures.slowest_look = 0.0
            figures.half_open.clear()

    async def run(self) -> None:
        """Look at every daemon until cancelled."""
        async with anyio.create_task_group() as tasks:
            for node in self.figures:
                tasks.start_soon(self._run, node)

    async def look(self, node: str) -> None:
        """Look at one daemon now.

        Raises:
            NodeError: it does not say.
        """
        figures = self.figures[node]
        begin = anyio.current_time()
        status = await _status(self._bed.node(node))
        figures.slowest_look = max(figures.slowest_look, anyio.current_time() - begin)
        figures.half_open[begin] = status.half_open
        figures.memory = status.memory
        figures.memory_peak = max(figures.memory_peak, status.memory)
        used = await self._cpu_seconds(node, status.pid)
        figures.cpu_seconds = used - self._cpu_start.setdefault(node, used)

    async def _run(self, node: str) -> None:
        while True:
            await anyio.sleep(PERIOD)
            await self.look(node)

    async def _cpu_seconds(self, node: str, pid: int) -> float:
        """The CPU time of a process, from proc(5): fields 14 and 15 of ``stat``, in ticks."""
        done = await self._bed.node(node).exec(["cat", f"/proc/{pid}/stat"])
        fields = done.stdout.rpartition(b")")[2].split()
        try:
            return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
        except (IndexError, ValueError):
            raise errors.NodeError(f"{node}: /proc/{pid}/stat is not what proc(5) says") from None


async def _status(node: Node) -> model.Status | EndpointStatus:
    if node.plan.role is RoleName.IKE:
        return await node.endpoint.status()
    return await node.peer.status()


_TICKS_PER_SECOND = 100
"""USER_HZ, which Linux shows to user space as 100 on every architecture of ours (man 7 time)."""
