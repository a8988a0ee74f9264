"""The verb ``capture``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nodes import errors
from orchestrator.capture.captures import Place
from orchestrator.capture.live import live_capture
from orchestrator.cli.execute import execute
from orchestrator.cli.options import run_option
from orchestrator.runtimes.base import BRIDGE
from orchestrator.runtimes.choose import find_run, runtime_type


@click.command()
@click.argument("place", default=BRIDGE)
@click.option(
    "-i", "--interface", "interfaces", multiple=True, help="The interface [default: the node's link]."
)
@click.option("--filter", "bpf", help="A capture filter, such as 'udp port 500 or udp port 4500'.")
@click.option("--live", is_flag=True, help="Write pcapng to standard output: | wireshark -k -i -")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write pcapng to this file."
)
@run_option
def capture(
    place: str, interfaces: tuple[str, ...], bpf: str | None, live: bool, out: Path | None, run_id: str | None
) -> None:
    """Capture at PLACE (a node, or the bridge) until Ctrl-C."""
    if live == (out is not None):
        raise click.UsageError("say either --live or --out FILE")
    if live and sys.stdout.isatty():
        raise click.UsageError(
            "--live writes packets: pipe it into wireshark -k -i -, or name a file with --out"
        )

    async def verb() -> None:
        run = await find_run(run_id)
        names = [BRIDGE, *(node.name for node in run.plan.nodes)]
        if place not in names:
            raise errors.UsageError(f"no place {place!r} in run {run.run_id}; there are {', '.join(names)}")
        runtime = await runtime_type(run.runtime).attach(run.run_id)
        try:
            output = sys.stdout.buffer if out is None else out.open("wb")
        except OSError as error:
            raise errors.UsageError(f"cannot write {out}: {error.strerror}") from None
        click.echo(f"capturing at {place} of run {run.run_id}; Ctrl-C ends it", err=True)
        with output:
            await live_capture(runtime, Place(name=place, interfaces=interfaces, filter=bpf), output)

    execute(verb)
