"""``python -m orchestrator.image``: builds the node image, or says how it stands. ``make image`` calls it."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

import click

from nodes import errors
from orchestrator.image.build import State, build, state
from orchestrator.image.content import RELEASES
from orchestrator.image.engine import connect


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


@click.command()
@click.option("--release", type=click.Choice(list(RELEASES)), default="bookworm", help="The Debian release.")
@click.option("--fresh", is_flag=True, help="Build anew, with Debian's packages of today.")
@click.option("--check", is_flag=True, help="Only say whether the image is absent, stale or current.")
@click.option("--if-engine", is_flag=True, help="Do nothing where no Docker Engine answers.")
def main(release: str, fresh: bool, check: bool, if_engine: bool) -> None:
    """Build the node image hopbed-node:RELEASE, unless it is current."""
    signal.signal(signal.SIGTERM, _end)
    begun = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"image: {time.monotonic() - begun:5.1f} s  {text}", err=True)

    try:
        client = connect()
    except errors.MachineError as error:
        if if_engine:
            say(f"not built: {error}")
            return
        _fail(error)
    try:
        if check:
            found = state(client, release)
            click.echo(found)
            sys.exit(0 if found is State.CURRENT else errors.MachineError.exit_status)
        build(client, release, say, fresh=fresh)
    except errors.HopbedError as error:
        _fail(error)
    finally:
        client.close()


def _fail(error: errors.HopbedError) -> None:
    click.echo(f"image: {error}", err=True)
    sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
