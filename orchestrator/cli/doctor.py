"""The verb ``doctor``."""

from __future__ import annotations

import click
import msgspec
from rich.table import Table
from rich.text import Text

from nodes.errors import MachineError
from orchestrator.cli.console import output
from orchestrator.cli.execute import execute
from orchestrator.cli.options import json_option
from orchestrator.doctor.examine import Examination, examine
from orchestrator.doctor.fix import fix


@click.command()
@json_option
@click.option(
    "--fix", "mend", is_flag=True, help="Run the commands that mend what is missing, each after asking."
)
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
def doctor(as_json: bool, mend: bool, yes: bool) -> None:
    """Say what this machine can do, and the command that mends what it cannot."""
    if yes and not mend:
        raise click.UsageError("--yes answers what --fix asks: give both")

    async def verb() -> int:
        found = await examine()
        if mend:
            await fix(found.findings, lambda text: yes or click.confirm(text, err=True), _say)
            found = await examine()
        if as_json:
            click.echo(msgspec.json.encode(found))
        else:
            output().print(_table(found))
            for name, able in (("namespaces", found.namespaces), ("docker", found.docker)):
                click.echo(f"{name} runtime: {'ready' if able else 'not usable here'}")
        return 0 if found.namespaces or found.docker else MachineError.exit_status

    execute(verb)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _table(found: Examination) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "without it", "to mend it"):
        table.add_column(column, overflow="fold")
    for finding in found.findings:
        if finding.present:
            table.add_row(Text("✓", "green"), finding.name, finding.detail)
        else:
            table.add_row(Text("✗", "red"), finding.name, finding.detail, f"no {finding.lost}", finding.mend)
    return table
