"""The seam between the testbed and a runtime.

A runtime knows how to make a bridge and nodes and how to take every trace of them away. What runs in the
nodes, and what it says, is the same for both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, Self

from nodes.events import Event
from orchestrator.topology.plan import RunPlan

BRIDGE = "bridge"
"""The place of the bridge itself, where a command sees every frame of the testbed."""

Publish = Callable[[Event], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run that is up on this machine, as found by its runtime; ``detached`` if nobody waits for its end."""

    run_id: str
    runtime: str
    plan: RunPlan
    detached: bool


class Runtime(Protocol):
    """One run in one runtime. Not for use from two tasks at once, save ``command``.

    Made by ``Runtime(detached=...)``: whether the run may outlive this process; if not, whatever ends this
    process ends the run. Or taken up from another process's run by ``attach``. ``bring_up`` and
    ``take_down`` are called once each; ``take_down`` is safe at any moment, also after a failed or cancelled
    ``bring_up``, and leaves nothing behind.
    """

    name: ClassVar[str]
    plan: RunPlan
    """What was brought up, or taken up."""
    python: Sequence[str]
    """Begins a command line that runs our Python inside a node: ``[*python, "-m", "nodes.capture"]``."""

    def __init__(self, *, detached: bool = False) -> None: ...

    async def check(self, plan: RunPlan) -> None:
        """Find out, before anything is started, whether this machine can run ``plan``.

        Raises:
            MachineError: it cannot; the text says what is missing and what mends it.
        """

    async def bring_up(self, plan: RunPlan, publish: Publish) -> None:
        """Make the bridge and the nodes, side by side; return once every agent said that it is ready.

        Publishes ``bridge.up``, ``node.up`` and ``node.ready``. A node that dies later is a ``node.died``;
        that all of them did is a ``runtime.died`` with its ``text``.

        Raises:
            MachineError: the machine lacks something.
            NodeError: a node did not come up, as the type and text that it died with.
        """

    async def take_down(self) -> None:
        """Remove everything of the run.

        Raises:
            CleanupError: something could not be removed; the text names it.
        """

    async def detach(self) -> None:
        """Let the run outlive this process; ``down`` ends it."""

    def command(self, place: str, argv: Sequence[str], *, tty: bool = False) -> list[str]:
        """The host's command line that runs ``argv`` in a node, or at :data:`BRIDGE`, on its own streams.

        A process started so ends when the command is ended, and with the run.

        Raises:
            NodeError: the node, or the whole run, ended.
        """

    def run_dir(self, node: str) -> Path:
        """The node's run directory as this process can open it; the control socket stands in it."""

    def log_dir(self, node: str) -> Path:
        """The node's log folder as this process can open it: :data:`nodes.agent.LOG_DIR` inside the node."""

    def bridge_interface(self) -> str:
        """The bridge's interface name at :data:`BRIDGE`."""

    @classmethod
    async def attach(cls, run_id: str) -> Self:
        """Take up a run that is up, for every method but ``bring_up`` and ``detach``.

        Raises:
            UsageError: no such run of this user is up.
        """

    @classmethod
    async def runs(cls) -> list[RunRecord]:
        """The runs of this user that are up in this runtime."""
