"""The verbs about a testbed that stays up: up, down, ps, exec, shell."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import anyio
import click
import msgspec
from rich.table import Table

from nodes import errors
from orchestrator.cli.console import output, progress
from orchestrator.cli.execute import errors_told, execute
from orchestrator.cli.options import json_option, run_option, testbed_options
from orchestrator.events import EventStream
from orchestrator.runtimes.base import RunRecord
from orchestrator.runtimes.choose import all_runs, choose, find_run, runtime_type
from orchestrator.testbed import Testbed, attach, leave_up
from orchestrator.topology.addressing import plan_run
from orchestrator.topology.load import load
from orchestrator.topology.plan import TUNNEL_ROLES, Dad, Dataplane


@click.command()
@testbed_options
@json_option
@click.argument("nodes", nargs=-1)
def up(file: Path, runtime: str, dad: str, dataplane: str, nodes: tuple[str, ...], as_json: bool) -> None:
    """Bring the testbed up (or just NODES of it) and leave it running; `hopbed down` ends it."""

    async def verb() -> None:
        topology = load(file)
        plan = plan_run(
            topology, owner=os.getuid(), dad=Dad(dad), dataplane=Dataplane(dataplane), nodes=nodes or None
        )
        events = EventStream()
        runtime_type = await choose(runtime)
        with progress(events, quiet=as_json):
            await leave_up(plan, runtime_type, events)
        if as_json:
            click.echo(msgspec.json.encode({"run": plan.run_id, "runtime": runtime_type.name}))
        else:
            click.echo(f"run {plan.run_id} is up in the {runtime_type.name} runtime: hopbed ps · hopbed down")

    execute(verb)


@click.command()
@run_option
@click.option("--all", "every", is_flag=True, help="End every run of yours.")
def down(run_id: str | None, every: bool) -> None:
    """End a run that `up` left running, and all that belongs to it."""

    async def verb() -> None:
        for run in await all_runs() if every else [await find_run(run_id)]:
            runtime = await runtime_type(run.runtime).attach(run.run_id)
            await runtime.take_down()
            click.echo(f"run {run.run_id} is down")

    execute(verb)


@click.command()
@json_option
def ps(as_json: bool) -> None:
    """List the runs that are up, with their nodes and SAs."""

    async def verb() -> None:
        runs = [await _state(run) for run in await all_runs()]
        if as_json:
            click.echo(msgspec.json.encode(runs))
        elif not runs:
            click.echo("no run is up; `hopbed up` starts one")
        for run in [] if as_json else runs:
            output().print(_table(run))

    execute(verb)


async def _state(run: RunRecord) -> dict[str, Any]:
    state: dict[str, Any] = {
        "run": run.run_id,
        "runtime": run.runtime,
        "file": str(run.plan.compose_file),
        "network": str(run.plan.network),
        "nodes": [
            {
                "name": node.name,
                "role": node.role.value,
                "address": str(node.address.ip),
                "state": "unreachable",
            }
            for node in run.plan.nodes
        ],
    }
    try:
        async with attach(run.run_id, runtime_type(run.runtime)) as bed:
            for entry in state["nodes"]:
                await _fill(entry, bed)
    except errors.HopbedError as error:  # it ends while we look, or an agent of it died or talks nonsense
        state["problem"] = str(error)
    return state


async def _fill(entry: dict[str, Any], bed: Testbed) -> None:
    node = bed.node(entry["name"])
    if node.control is not None:
        await node.control.call("agent.ping", None, str)
    entry["state"] = "up"
    if node.plan.role in TUNNEL_ROLES:
        entry["sas"] = msgspec.to_builtins(await node.tunnel_end.list_sas())


def _table(run: dict[str, Any]) -> Table:
    title = f"run {run['run']} · {run['runtime']} · {run['network']} · {run['file']}"
    table = Table(title=title, title_justify="left")
    for column in ("node", "role", "address", "state", "SAs"):
        table.add_column(column, overflow="fold")
    for node in run["nodes"]:
        sas = [
            f"{sa['name']} IKEv{sa['version']} {sa['state']}"
            + "".join(f"\n  {_child(child)}" for child in sa["children"])
            for sa in node.get("sas", [])
        ]
        table.add_row(node["name"], node["role"], node["address"], node["state"], "\n".join(sas))
    if "problem" in run:
        table.caption = run["problem"]
    return table


def _child(child: dict[str, Any]) -> str:
    """A CHILD_SA in words: its state, with what made it effective where that is told, and its SPIs."""
    state = f"{child['state']} by {child['effective_by']}" if child["effective_by"] else child["state"]
    spis = " ".join(spi or "-" for spi in (child["spi_in"], child["spi_out"]))
    return f"{child['name']} {state} {spis}"


def _become(node: str, run_id: str | None, argv: list[str]) -> NoReturn:
    """Replace this process by a command in a node, so that signals, streams and status are the command's."""

    async def command() -> list[str]:
        run = await find_run(run_id)
        runtime = await runtime_type(run.runtime).attach(run.run_id)
        run.plan.require(node)
        return runtime.command(node, argv, tty=sys.stdin.isatty() and sys.stdout.isatty())

    with errors_told():
        line = anyio.run(command)
    os.execvp(line[0], line)


@click.command(name="exec", context_settings={"ignore_unknown_options": True})
@run_option
@click.argument("node")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(run_id: str | None, node: str, argv: tuple[str, ...]) -> None:
    """Run a command in NODE; its exit status is ours."""
    _become(node, run_id, list(argv))


@click.command()
@run_option
@click.argument("node")
def shell(run_id: str | None, node: str) -> None:
    """Open a shell in NODE."""
    _become(node, run_id, ["sh", "-c", "command -v bash >/dev/null && exec bash; exec sh"])
