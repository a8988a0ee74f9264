"""The options of the verbs that run a scenario."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.asked import Words
from orchestrator.cli.options import testbed_options

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
        lambda decorated, option: option(decorated), reversed(_SCENARIO), testbed_options(with_words)
    )
