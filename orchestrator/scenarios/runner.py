"""Runs a scenario from its parameters to its verdict, with the evidence written whatever happens."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from orchestrator.capture.captures import capture
from orchestrator.continuity.attribution import cause_of
from orchestrator.events import EventStream
from orchestrator.evidence.folder import Evidence, Setting, evidence
from orchestrator.evidence.verdict import Check, FlowVerdict, Outcome, Verdict
from orchestrator.flows import FlowResult
from orchestrator.runtimes.base import BRIDGE, Runtime
from orchestrator.runtimes.choose import AUTO, choose
from orchestrator.scenarios.scenario import Parameters, Scenario
from orchestrator.scenarios.stage import Stage
from orchestrator.testbed import bring_up
from orchestrator.topology.addressing import plan_run
from orchestrator.topology.load import load
from orchestrator.topology.plan import Dad, Dataplane, RunPlan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What to run, where, and where the evidence goes.

    ``command`` is the command line that runs it again, the seed included.
    """

    scenario: Scenario[Any]
    parameters: Parameters
    out: Path
    seed: int
    command: Sequence[str]
    file: Path = Path("compose.yaml")
    runtime: str = AUTO
    dad: Dad = Dad.NODAD
    dataplane: Dataplane = Dataplane.AUTO


async def run(asked: Run, events: EventStream) -> Verdict:
    """Bring up, play, measure, take down; the evidence is complete when this returns or raises.

    Raises:
        UsageError: the compose file or the folder will not do; nothing was started.
        MachineError: this machine cannot run it; nothing was started.
        HopbedError: the run did not get to its end; its evidence says so too.
    """
    topology = load(asked.file)
    runtime_type = await choose(asked.runtime)
    plan = plan_run(
        topology, owner=os.getuid(), dad=asked.dad, dataplane=asked.dataplane, nodes=asked.scenario.nodes
    )
    await runtime_type(detached=False).check(plan)
    setting = Setting(
        scenario=asked.scenario.name,
        parameters=asked.parameters.model_dump(mode="json"),
        seed=asked.seed,
        runtime=runtime_type.name,
        dad=asked.dad.value,
        command=asked.command,
    )
    with evidence(asked.out, setting) as growing:
        events.add_sink(growing.timeline)
        try:
            await _play(
                asked, dataclasses.replace(plan, log_dir=growing.nodes), runtime_type, events, growing
            )
        finally:
            events.remove_sink(growing.timeline)
    assert growing.verdict is not None  # the context concluded it
    return growing.verdict


async def _play(
    asked: Run, plan: RunPlan, runtime_type: type[Runtime], events: EventStream, growing: Evidence
) -> None:
    async with bring_up(plan, runtime_type, events=events) as bed:
        stage = Stage(bed, asked.seed)
        places = [*(node.name for node in plan.nodes), BRIDGE]
        captures = None
        try:
            async with capture(bed.runtime, places, events.publish, folder=growing.captures) as captures:
                await asked.scenario.play(stage, asked.parameters)
        finally:
            if captures is not None:
                growing.capture_files |= captures.files
            growing.dataplane = stage.dataplane or growing.dataplane
            growing.versions |= stage.versions
            growing.flows += [_flow_verdict(flow, events, growing.origin_ns) for flow in stage.flows]
            growing.checks += [*stage.checks, *(doubt for flow in stage.flows for doubt in _doubts(flow))]
    if asked.scenario.inspect is not None:
        stage.captures = {place: growing.path / file.file for place, file in growing.capture_files.items()}
        judged = len(stage.checks)
        await anyio.to_thread.run_sync(asked.scenario.inspect, stage, asked.parameters)
        growing.checks += stage.checks[judged:]


def _flow_verdict(flow: FlowResult, events: EventStream, origin_ns: int) -> FlowVerdict:
    plain = flow.as_verdict(origin_ns)
    for entry, interruption in zip(plain["interruptions"], flow.continuity.interruptions, strict=True):
        cause = cause_of(interruption, events.past)
        if cause is not None:
            entry["event"] = f"{cause.kind} {cause.node}".strip()
    return msgspec.convert(plain, FlowVerdict)


def _doubts(flow: FlowResult) -> list[Check]:
    return [
        Check(
            name=f"evidence of {flow.spec.name}",
            expected="whole",
            measured=doubt,
            outcome=Outcome.INCONCLUSIVE,
        )
        for doubt in flow.doubts
    ]
