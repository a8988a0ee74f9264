"""Options that several verbs share."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from orchestrator.topology.plan import Dad, Dataplane

_RUNTIMES = ("auto", "namespaces", "docker")

run_option = click.option(
    "--run", "run_id", help="The run, by the beginning of its id; needed where several are up."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, for a machine to read.")
out_option = click.option(
    "--out", type=click.Path(path_type=Path), help="The evidence folder [default: one under evidence/]."
)

_TESTBED = (
    click.option(
        "-f",
        "--file",
        type=click.Path(path_type=Path),
        default=Path("compose.yaml"),
        show_default=True,
        help="The compose file.",
    ),
    click.option(
        "--runtime",
        type=click.Choice(_RUNTIMES),
        default="auto",
        envvar="RUNTIME",
        show_default=True,
        show_envvar=True,
        help="Where the nodes run; auto takes Docker where an engine answers.",
    ),
    click.option(
        "--dad",
        type=click.Choice([one.value for one in Dad]),
        default=Dad.NODAD.value,
        show_default=True,
        help="Duplicate address detection.",
    ),
    click.option(
        "--dataplane",
        type=click.Choice([one.value for one in Dataplane]),
        default=Dataplane.AUTO.value,
        show_default=True,
        help="What carries ESP; auto takes the kernel where it can.",
    ),
)


def testbed_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """``--file``, ``--runtime``, ``--dad``, ``--dataplane``: which testbed, and where."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(_TESTBED), verb)


def evidence_folder(out: Path | None, what: str) -> Path:
    """The folder that ``--out`` names, or a new one for ``what`` by the time of day."""
    return out or Path("evidence") / f"{what}-{time.strftime('%Y%m%d-%H%M%S')}"
