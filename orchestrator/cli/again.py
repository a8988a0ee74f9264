"""The verbs about an evidence folder: replay, report and bundle."""

from __future__ import annotations

from pathlib import Path

import click

from nodes.errors import UsageError
from orchestrator.bundle.bundle import write_bundle
from orchestrator.cli.execute import errors_told, execute
from orchestrator.cli.options import evidence_folder, json_option, out_option
from orchestrator.cli.scenario import run as run_command
from orchestrator.evidence.folder import COMPOSE
from orchestrator.evidence.read import read_run
from orchestrator.report.write import write_comparison, write_report

COMPARED = "comparison.html"

folder_argument = click.argument("folder", type=click.Path(path_type=Path))


@click.command()
@folder_argument
@out_option
@json_option
def replay(folder: Path, out: Path | None, as_json: bool) -> None:
    """Run again what made the evidence in FOLDER: same testbed, parameters, faults and seed."""
    with errors_told():
        command = read_run(folder).command
        if command[:2] != ("hopbed", "run"):
            raise UsageError(f"{folder} was not made by `hopbed run`; its run.json says how")
    again = [*command[2:], "--file", str(folder / COMPOSE), "--out", str(evidence_folder(out, "replay"))]
    run_command.main([*again, *(["--json"] if as_json else [])], prog_name="hopbed run")


@click.command()
@folder_argument
@click.argument("other", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where the page goes.")
def report(folder: Path, other: Path | None, output: Path | None) -> None:
    """Make the report of the evidence in FOLDER again; with OTHER, of both beside each other."""
    with errors_told():
        try:
            if other is None:
                path = write_report(folder, output)
            else:
                labels = (folder.name, other.name)
                path = write_comparison(output or Path(COMPARED), folder, other, labels=labels)
        except OSError as error:
            raise UsageError(f"cannot write the report: {error.filename}: {error.strerror}") from None
    click.echo(path)


@click.command()
@folder_argument
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where the file goes.")
def bundle(folder: Path, output: Path | None) -> None:
    """Pack the evidence in FOLDER into one file for a bug report, secrets left out.

    A run that does not pass packs its own: failure-bundle.tar.gz in its folder.
    """

    async def verb() -> int:
        click.echo(await write_bundle(folder, output))
        return 0

    execute(verb)
