"""Runs a scenario from its parameters to its verdict, with the evidence written whatever happens."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from orchestrator.bundle.bundle import write_bundle
from orchestrator.bundle.state import state_of_failure
from orchestrator.capture.captures import Place, capture
from orchestrator.decryption.folder import write_keys
from orchestrator.doctor import probes
from orchestrator.events import EventStream
from orchestrator.evidence.folder import COMPOSE, Evidence, Setting, evidence
from orchestrator.evidence.verdict import Outcome, Verdict
from orchestrator.faults import check_rules, checks_of, faults
from orchestrator.impairment import impaired
from orchestrator.impairment_words import parse
from orchestrator.reconciliation import reconcile
from orchestrator.report.write import write_report
from orchestrator.runtimes.base import BRIDGE, Runtime
from orchestrator.runtimes.choose import AUTO, choose
from orchestrator.scenarios.flow_evidence import doubts, flow_verdict
from orchestrator.scenarios.scenario import Parameters, Scenario
from orchestrator.scenarios.stage import Stage
from orchestrator.testbed import Testbed, bring_up
from orchestrator.topology.addressing import plan_run
from orchestrator.topology.load import load
from orchestrator.topology.plan import Dad, Dataplane, RunPlan

WARNING = "run.warning"
"""The event of something that was asked for, is allowed, and is hardly meant."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What to run, where, and where the evidence goes.

    ``command`` is the command line that runs it again, the seed included. With ``keys`` the evidence holds
    the keys that decrypt its captures.
    """

    scenario: Scenario[Any]
    parameters: Parameters
    out: Path
    seed: int
    command: Sequence[str]
    faults: tuple[str, ...] = ()
    impairments: tuple[str, ...] = ()
    file: Path = Path("compose.yaml")
    runtime: str = AUTO
    dad: Dad = Dad.NODAD
    dataplane: Dataplane = Dataplane.AUTO
    keys: bool = False


async def run(asked: Run, events: EventStream) -> Verdict:
    """Bring up, play, measure, take down; the evidence is complete when this returns or raises.

    Raises:
        UsageError: the compose file, a fault or the folder will not do; nothing was started.
        MachineError: this machine cannot run it; nothing was started.
        HopbedError: the run did not get to its end; its evidence says so too.
    """
    topology = load(asked.file)
    runtime_type = await choose(asked.runtime)
    cast = asked.scenario.cast_of(asked.parameters)
    check_rules(asked.faults, cast.nodes, cast.ends)
    for words in asked.impairments:
        parse(words, cast.nodes)
    if asked.impairments:
        (await probes.netem()).require()
    plan = plan_run(
        topology,
        owner=os.getuid(),
        dad=asked.dad,
        dataplane=asked.dataplane,
        nodes=cast.nodes,
        keys=asked.keys,
        settings=asked.scenario.settings(asked.parameters),
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
    growing: Evidence | None = None
    try:
        with evidence(asked.out, setting) as growing:
            shutil.copyfile(asked.file, growing.path / COMPOSE)
            events.add_sink(growing.timeline)
            for text in asked.scenario.warnings(asked.parameters):
                events.say(WARNING, text=text)
            try:
                await _play(
                    asked, dataclasses.replace(plan, log_dir=growing.nodes), runtime_type, events, growing
                )
            finally:
                events.remove_sink(growing.timeline)
    finally:
        if growing is not None:
            await _complete(growing, events)
    assert growing.verdict is not None  # the context concluded it
    return growing.verdict


@asynccontextmanager
async def _bad_links(bed: Testbed, impairments: Sequence[str]) -> AsyncIterator[None]:
    """Impairments that are in force for the length of the context."""
    async with AsyncExitStack() as stack:
        for words in impairments:
            node, impairment = parse(words, bed.nodes)
            await stack.enter_async_context(impaired(bed.runtime, node, impairment, bed.events.publish))
        yield


async def _complete(growing: Evidence, events: EventStream) -> None:
    """Add what is made from the evidence alone, also for a run that failed; the verdict stands without it."""
    events.say("report.started")
    try:
        with anyio.CancelScope(shield=True):  # in threads: a signal is heard meanwhile, and heeded after
            await anyio.to_thread.run_sync(write_keys, growing.path, events.past)
            await anyio.to_thread.run_sync(write_report, growing.path)
            if growing.verdict is None or growing.verdict.outcome is not Outcome.PASS:
                await write_bundle(growing.path)
    except Exception as error:  # whatever it is, it must not take the place of the run's own outcome
        events.say("report.failed", type=type(error).__name__, text=str(error))


def _has_failed(stage: Stage) -> bool:
    return any(check.outcome is not Outcome.PASS for check in stage.checks)


async def _play(
    asked: Run, plan: RunPlan, runtime_type: type[Runtime], events: EventStream, growing: Evidence
) -> None:
    async with bring_up(plan, runtime_type, events=events, checked=True) as bed:
        stage = Stage(bed, asked.seed, asked.faults)
        ends = asked.scenario.cast_of(asked.parameters).ends
        places = [
            Place(name=name, snaplen=asked.scenario.snaplen)
            for name in (*(node.name for node in plan.nodes), BRIDGE)
        ]
        captures = None
        try:
            async with (
                state_of_failure(bed, growing.nodes, lambda: _has_failed(stage)),
                _bad_links(bed, asked.impairments),
                capture(bed.runtime, places, events.publish, folder=growing.captures) as captures,
                faults(bed.runtime, [], events, ends=ends, seed=asked.seed) as stage.fault_engine,
            ):
                await asked.scenario.play(stage, asked.parameters)
        finally:
            if asked.faults and stage.fault_engine is not None:
                stage.checks += checks_of(stage.fault_engine.totals, stage.fault_engine.died)
            if captures is not None:
                growing.capture_files |= captures.files
            growing.dataplane = stage.dataplane or growing.dataplane
            growing.versions |= stage.versions
            growing.flows += [flow_verdict(flow, events.past, growing.origin_ns) for flow in stage.flows]
            growing.checks += [*stage.checks, *(doubt for flow in stage.flows for doubt in doubts(flow))]
    judged = len(stage.checks)
    reconciled = await anyio.to_thread.run_sync(reconcile, stage.flows, growing.path, growing.capture_files)
    stage.flows = list(reconciled.flows)
    growing.flows = [flow_verdict(flow, events.past, growing.origin_ns) for flow in stage.flows]
    for check in reconciled.checks:
        stage.add(check)
    if asked.scenario.inspect is not None:
        stage.capture_files = dict(growing.capture_files)
        stage.captures = {place: growing.path / file.file for place, file in growing.capture_files.items()}
        await anyio.to_thread.run_sync(asked.scenario.inspect, stage, asked.parameters)
    growing.checks += stage.checks[judged:]
