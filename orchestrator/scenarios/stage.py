"""What a scenario plays on: the testbed that is up, and what is to stand in the verdict."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from orchestrator.continuity import STALL_MS
from orchestrator.evidence.run_file import CaptureFile
from orchestrator.evidence.verdict import Check
from orchestrator.faults import FaultEngine
from orchestrator.flows import FlowResult, Flows, FlowSpec, run_flows
from orchestrator.testbed import Testbed


class Stage:
    """One play.

    Attributes:
        bed: the testbed.
        random: where every random choice of a scenario comes from, so that the seed replays it.
        fault_engine: of the run; a scenario may add faults of its own.
        checks: what was expected and measured so far.
        flows: the results of the flows that have ended.
        dataplane: what carried ESP, once a scenario found out; empty where none did.
        versions: of the daemons that took part.
        captures: the captures by place, once the play is over: for :attr:`Scenario.inspect`.
        capture_files: likewise, what their programs said of them.
    """

    def __init__(self, bed: Testbed, seed: int, faults: Sequence[str] = ()) -> None:
        self.bed = bed
        self.random = random.Random(seed)
        self.fault_engine: FaultEngine | None = None
        self._faults = faults
        self.checks: list[Check] = []
        self.flows: list[FlowResult] = []
        self.dataplane = ""
        self.versions: dict[str, str] = {}
        self.captures: Mapping[str, Path] = {}
        self.capture_files: Mapping[str, CaptureFile] = {}

    async def begin_faults(self) -> None:
        """Put the faults that were asked for in force: from here on a first occurrence is the first.

        Raises:
            MachineError: this machine cannot lead packets to a fault engine.
            NodeError: an engine did not start.
        """
        if self._faults and self.fault_engine is not None:
            await self.fault_engine.add(*self._faults)

    def check(self, name: str, *, expected: str, measured: str, passed: bool) -> None:
        """Check that something is as it was expected."""
        self.add(Check.of(name, expected=expected, measured=measured, passed=passed))

    def add(self, check: Check) -> None:
        """Put a check into the verdict, and on the stream."""
        self.checks.append(check)
        self.bed.events.say("check", **msgspec.to_builtins(check))

    @asynccontextmanager
    async def traffic(self, specs: Sequence[FlowSpec], *, stall_ms: float = STALL_MS) -> AsyncIterator[Flows]:
        """Flows that are under way for the length of the context; their results go into the verdict.

        Args:
            stall_ms: the shortest outage without loss that is an interruption.

        Raises:
            FlowError: an end of a flow did not start, or ended early.
        """
        running: Flows | None = None
        try:
            async with run_flows(
                self.bed.runtime, specs, publish=self.bed.events.publish, stall_ms=stall_ms
            ) as running:
                yield running
        finally:
            if running is not None:
                self.flows += running.results
