"""Options that several verbs share."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.asked import Words
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
_SCENARIO = (
    click.option(
        "-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="A parameter; again for more."
    ),
    click.option(
        "--fault", "faults", multiple=True, metavar="RULE", help="A fault on the wire; again for more."
    ),
    click.option(
        "--impair",
        "impairments",
        multiple=True,
        metavar="WORDS",
        help="A bad link, such as 'peer-a loss=1% delay=20ms'; again for more.",
    ),
    click.option("--keys", is_flag=True, help="Keep the keys that decrypt the captures with the evidence."),
    click.option(
        "--seed", type=click.IntRange(0), help="Where every random choice comes from [default: a new one]."
    ),
)


def testbed_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """``--file``, ``--runtime``, ``--dad``, ``--dataplane``: which testbed, and where."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(_TESTBED), verb)


def scenario_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """What a scenario is told, and the testbed's options; the verb gets them as ``words``."""

    @functools.wraps(verb)
    def with_words(
        *,
        given: tuple[str, ...],
        faults: tuple[str, ...],
        impairments: tuple[str, ...],
        keys: bool,
        seed: int | None,
        file: Path,
        runtime: str,
        dad: str,
        dataplane: str,
        **others: Any,
    ) -> Any:
        words = Words(
            given=given,
            faults=faults,
            impairments=impairments,
            keys=keys,
            seed=seed,
            file=file,
            runtime=runtime,
            dad=dad,
            dataplane=dataplane,
        )
        return verb(words=words, **others)

    return functools.reduce(
        lambda decorated, option: option(decorated), reversed((*_SCENARIO, *_TESTBED)), with_words
    )


def evidence_folder(out: Path | None, what: str) -> Path:
    """The folder that ``--out`` names, or a new one for ``what`` by the time of day."""
    return out or Path("evidence") / f"{what}-{time.strftime('%Y%m%d-%H%M%S')}"
