"""The fault engines of a running testbed: started where a rule acts, told of rules and events, counted.

Publishes, each from the node that it happened at:

===================== ========================================================================================
``faults.started``    an engine is ready: ``queue`` says what leads packets to it
``fault.applied``     a rule acted: ``id``, ``rule``, ``action``, ``version``, ``exchange``, ``message``,
                      ``occurrence``, ``retransmission``, SPIs, ``message_id``, addresses, and what it did
``fault.released``    what was delayed or held went on, or a copy to be replayed went out
``fault.missed``      a rule matched, but could not act, for the ``reason`` in it
``fault.engine-died`` an engine ended by itself; IKE passes since
``faults.ended``      an engine ended as told: how many packets took the detour
===================== ========================================================================================
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import msgspec

from nodes import errors
from nodes.events import Event, event
from nodes.faults.engine import APPLIED, SEEN
from nodes.faults.matching import NumberedRule
from nodes.faults.orders import ADDED, Add, Heard, Order, Seen, Start
from nodes.faults.rule import is_until
from orchestrator.events import EventStream
from orchestrator.faults.rules import Ends, acts_at, addresses, check_rules
from orchestrator.program import Program, run_program
from orchestrator.runtimes.base import Runtime
from orchestrator.tasks import background

STARTED = "faults.started"
ENDED = "faults.ended"
DIED = "fault.engine-died"


@dataclasses.dataclass
class FaultTotal:
    """A rule as it was written, and how many messages it acted on; a message in fragments is one."""

    text: str
    matched: int = 0


class _NodeEngine:
    """The engine of one node, as the orchestrator sees it."""

    def __init__(self) -> None:
        self.ready = anyio.Event()
        self.over = anyio.Event()
        self.failure: errors.HopbedError | None = None
        self.pid: int | None = None
        self.added: dict[int, anyio.Event] = {}
        self.outbox, self.orders = anyio.create_memory_object_stream[Order](math.inf)


class FaultEngine:
    """The faults of one run. Made by :func:`faults`.

    Attributes:
        totals: of each rule, in the order in which they were put in force.
        died: why an engine died, by node.
    """

    def __init__(
        self, runtime: Runtime, events: EventStream, tasks: anyio.abc.TaskGroup, *, seed: int, ends: Ends
    ) -> None:
        self.totals: list[FaultTotal] = []
        self.died: dict[str, str] = {}
        self._runtime = runtime
        self._events = events
        self._tasks = tasks
        self._seed = seed
        self._ends = ends
        self._rules: list[NumberedRule] = []
        self._engines: dict[str, _NodeEngine] = {}
        self._adding = anyio.Lock()
        self._end = anyio.Event()

    async def add(self, *texts: str) -> None:
        """Put more rules in force, after those that are; they are when this returns.

        Raises:
            ParameterError: one is no rule, or can never act; none of them is in force.
            MachineError: this machine cannot lead packets to an engine.
            NodeError: an engine did not start, or has died.
        """
        async with self._adding:
            nodes = [node.name for node in self._runtime.plan.nodes]
            before = [numbered.rule for numbered in self._rules]
            rules = check_rules(texts, nodes, self._ends, before=before)
            new = [NumberedRule(id=len(self._rules) + i, rule=rule) for i, rule in enumerate(rules)]
            self._rules += new
            self.totals += [FaultTotal(text) for text in texts]
            at: dict[str, list[NumberedRule]] = {}
            for numbered in new:
                for node in acts_at(numbered.rule, self._ends):
                    at.setdefault(node, []).append(numbered)
            for node, its in at.items():
                self._tell(node, its)
            for node, its in at.items():
                await self._until_in_force(node, its)

    def pid(self, node: str) -> int | None:
        """The process id, inside the node, of its engine; None where none runs."""
        engine = self._engines.get(node)
        return engine.pid if engine is not None and not engine.over.is_set() else None

    def hear(self, said: Event) -> None:
        """Take an event of the stream: one that a rule waits for is passed on."""
        untils = [numbered.rule.until for numbered in self._rules]
        if any(until is not None and is_until(until, said.kind) for until in untils):
            for engine in self._engines.values():
                engine.outbox.send_nowait(Heard(kind=said.kind, time_ns=said.time_ns))

    async def end(self) -> None:
        """End every engine; what waits passes."""
        self._end.set()
        for engine in self._engines.values():
            await engine.over.wait()

    def _tell(self, node: str, rules: Sequence[NumberedRule]) -> None:
        """Tell a node's engine of rules, and start it with them if there is none."""
        engine = self._engines.get(node)
        if engine is None:
            engine = self._engines[node] = _NodeEngine()
            self._tasks.start_soon(self._serve, node, engine, rules)
            return
        for numbered in rules:
            engine.added[numbered.id] = anyio.Event()
            engine.outbox.send_nowait(Add(rule=numbered))

    async def _until_in_force(self, node: str, rules: Sequence[NumberedRule]) -> None:
        engine = self._engines[node]
        await engine.ready.wait()
        for numbered in rules:
            if numbered.id in engine.added and engine.failure is None:
                await engine.added[numbered.id].wait()
        if engine.failure is not None:
            raise engine.failure

    async def _serve(self, node: str, engine: _NodeEngine, rules: Sequence[NumberedRule]) -> None:
        """Run the engine of a node until the end; that it died is told, and is no error of the run's."""
        start = Start(seed=self._seed, rules=tuple(rules), addresses=addresses(self._runtime.plan))
        argv = [*self._runtime.python, "-m", "nodes.faults", msgspec.json.encode(start).decode()]
        command = self._runtime.command(node, argv)

        def take(said: Event) -> None:
            self._take(node, engine, said)

        try:
            async with run_program(f"the fault engine of {node}", command, on_event=take) as program:
                engine.pid = int(program.ready.data["pid"])
                self._say(STARTED, node, queue=program.ready.data["queue"])
                engine.ready.set()
                with anyio.CancelScope(shield=True):  # it ends when it is told to
                    await self._until_end(engine, program)
                    done = await program.stop()
                self._say(ENDED, node, **done.data)
        except errors.HopbedError as error:
            engine.failure = error
            if engine.ready.is_set():
                self.died[node] = str(error)
                self._say(DIED, node, text=str(error))
        finally:
            engine.ready.set()
            engine.over.set()
            for added in engine.added.values():
                added.set()

    async def _until_end(self, engine: _NodeEngine, program: Program) -> None:
        """Pass orders on until the engine is to end; raise if it does before."""

        async def pass_on() -> None:
            async for order in engine.orders:
                await program.tell(order)

        async with background() as tasks:
            tasks.start_soon(pass_on)
            await program.until(self._end)

    def _take(self, node: str, engine: _NodeEngine, said: Event) -> None:
        if said.kind == ADDED:
            engine.added[said.data["id"]].set()
        elif said.kind == SEEN:
            for other in self._engines.values():
                if other is not engine:
                    other.outbox.send_nowait(msgspec.convert(said.data, Seen))
        else:
            if said.kind == APPLIED and said.data.get("fragment", 1) == 1:
                self.totals[said.data["id"]].matched += 1
            self._events.publish(msgspec.structs.replace(said, node=node))

    def _say(self, kind: str, node: str, **data: Any) -> None:
        self._events.publish(event(kind, node=node, **data))


@asynccontextmanager
async def faults(
    runtime: Runtime, rules: Sequence[str], events: EventStream, *, ends: Ends, seed: int = 0
) -> AsyncIterator[FaultEngine]:
    """Faults that are in force for the length of the context.

    Args:
        runtime: of the testbed, which is up.
        rules: in words; see docs/faults.md.
        events: the testbed's stream.
        ends: the nodes that are INITIATOR and RESPONDER; a rule without ``from`` acts at both.
        seed: where every choice that a rule leaves open comes from.

    Raises:
        ParameterError: a rule is none, or can never act; nothing was started.
        MachineError: this machine cannot lead packets to an engine.
        NodeError: an engine did not start.
    """
    async with background() as tasks:
        engine = FaultEngine(runtime, events, tasks, seed=seed, ends=ends)
        events.add_sink(engine.hear)
        try:
            await engine.add(*rules)
            yield engine
        finally:
            events.remove_sink(engine.hear)
            with anyio.CancelScope(shield=True):
                await engine.end()
