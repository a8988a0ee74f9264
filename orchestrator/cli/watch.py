"""The verb ``watch``: a run that is up, as it is now: addresses, flows, SAs, events."""

from __future__ import annotations

import collections
import time
from typing import Any

import anyio
import click
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from nodes.errors import HopbedError, NodeError
from nodes.events import Event
from nodes.peer.model import IkeSa
from nodes.terminal import model
from orchestrator.cli.console import describe
from orchestrator.cli.execute import execute
from orchestrator.cli.options import json_option, run_option
from orchestrator.runtimes.base import RunRecord
from orchestrator.runtimes.choose import find_run, runtime_type
from orchestrator.tasks import background
from orchestrator.testbed import Testbed, attach
from orchestrator.topology.plan import RoleName

_EVENTS = 15
_QUIET = ("charon.log",)


class View:
    """What is known of a run, and how it looks.

    Attributes:
        terminals, sas: the latest state by node; a node that does not answer has none.
        trouble: why a node does not answer.
    """

    def __init__(self, run: RunRecord) -> None:
        self.terminals: dict[str, model.Status] = {}
        self.sas: dict[str, list[IkeSa]] = {}
        self.trouble: dict[str, str] = {}
        self._run = run
        self._taken = time.monotonic()
        self._events: collections.deque[Event] = collections.deque(maxlen=_EVENTS)

    def take(self, event: Event) -> None:
        """Take an event, as a sink."""
        if event.kind not in _QUIET:
            self._events.append(event)

    async def ask(self, bed: Testbed) -> None:
        """Ask every node for its state."""
        for name, node in bed.nodes.items():
            try:
                if node.plan.role is RoleName.TERMINAL:
                    self.terminals[name] = await node.terminal.status()
                elif node.plan.role is RoleName.PEER:
                    self.sas[name] = await node.peer.list_sas()
                self.trouble.pop(name, None)
            except HopbedError as error:
                self.trouble[name] = str(error)
        self._taken = time.monotonic()

    def plain(self) -> dict[str, Any]:
        """The state as a JSON value."""
        return {
            "time_ns": time.monotonic_ns(),
            "terminals": msgspec.to_builtins(self.terminals),
            "sas": msgspec.to_builtins(self.sas),
            "trouble": self.trouble,
        }

    def __rich__(self) -> Group:
        """The view as it is at this moment; lifetimes go on between two questions."""
        parts: list[Any] = [
            f"run {self._run.run_id} · {self._run.runtime} · {self._run.plan.network} · Ctrl-C ends the view"
        ]
        parts += [f"{node}: {text}" for node, text in self.trouble.items()]
        parts += [table for table in (self._addresses(), self._flows(), self._sas()) if table.row_count]
        parts.append(self._events_table())
        return Group(*parts)

    def _addresses(self) -> Table:
        table = _table("addresses", "node", "address", "state", "preferred", "valid")
        since = time.monotonic() - self._taken
        for node, status in self.terminals.items():
            for one in status.addresses:
                left = (_left(one.preferred, since), _left(one.valid, since))
                table.add_row(node, one.address, one.state, *left)
        return table

    def _flows(self) -> Table:
        table = _table("flows", "node", "service", "on the wire", "partner", "last hop")
        for node, status in self.terminals.items():
            for one in status.flows:
                table.add_row(node, one.service, one.wire, one.partner or "-", one.outcome or "-")
        return table

    def _sas(self) -> Table:
        table = _table("SAs", "node", "SA", "state", "SPIs", "octets in, out")
        for node, sas in self.sas.items():
            for sa in sas:
                table.add_row(node, f"{sa.name} IKEv{sa.version}", sa.state, sa.initiator_spi, "")
                for child in sa.children:
                    octets = f"{child.bytes_in or 0}, {child.bytes_out or 0}"
                    spis = f"{child.spi_in} {child.spi_out}"
                    table.add_row("", f"  {child.name}", child.state, spis, octets)
        return table

    def _events_table(self) -> Table:
        table = _table("events", "s ago", "event")
        now = time.monotonic_ns()
        for event in reversed(self._events):
            table.add_row(f"{(now - event.time_ns) / 1e9:.1f}", describe(event))
        return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, expand=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _left(lifetime: float | None, since: float) -> str:
    return "for ever" if lifetime is None else f"{max(lifetime - since, 0.0):.1f} s"


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(0.05, 60),
    default=0.5,
    show_default=True,
    help="Seconds between two questions.",
)
@run_option
@json_option
def watch(interval: float, run_id: str | None, as_json: bool) -> None:
    """Show flows, addresses with their lifetimes, SAs and events of a run, live, until Ctrl-C.

    With --json: a line for each event, and for each answer {"state": …}.
    """

    async def verb() -> None:
        run = await find_run(run_id)
        async with attach(run.run_id, runtime_type(run.runtime)) as bed:
            view = View(run)
            if as_json:
                await _write_lines(bed, view, interval)
            else:
                await _show(bed, view, interval)

    execute(verb)


async def _write_lines(bed: Testbed, view: View, interval: float) -> None:
    def write(event: Event) -> None:
        click.echo(msgspec.json.encode(event))

    bed.events.add_sink(write, replay=True)
    while True:
        await view.ask(bed)
        click.echo(msgspec.json.encode({"state": view.plain()}))
        _check(bed, view)
        await anyio.sleep(interval)


async def _show(bed: Testbed, view: View, interval: float) -> None:
    bed.events.add_sink(view.take, replay=True)
    await view.ask(bed)
    with Live(view, console=Console(), refresh_per_second=10, screen=True):
        async with background() as tasks:
            tasks.start_soon(_keep_asking, bed, view, interval)
            await anyio.sleep_forever()


async def _keep_asking(bed: Testbed, view: View, interval: float) -> None:
    while True:
        await anyio.sleep(interval)
        await view.ask(bed)
        _check(bed, view)


def _check(bed: Testbed, view: View) -> None:
    """See to it that the view ends with the run.

    Raises:
        NodeError: no node answers any more.
    """
    asked = {*view.terminals, *view.sas, *view.trouble}
    if asked and asked == set(view.trouble):
        raise NodeError(
            f"run {bed.plan.run_id} does not answer any more: {next(iter(view.trouble.values()))}"
        )
