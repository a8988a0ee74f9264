"""Runs a verb: the event loop, the signals, and the exit status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import anyio
import click

from nodes.errors import HopbedError
from orchestrator.tasks import background, single_error


def execute(verb: Callable[[], Awaitable[int | None]]) -> NoReturn:
    """Run ``verb`` to its end and exit with its status; SIGINT and SIGTERM end it in an orderly way."""
    caught: list[signal.Signals] = []
    with errors_told():
        status = anyio.run(_until_signal, verb, caught)
    sys.exit(128 + caught[0] if caught else status)


@contextmanager
def errors_told() -> Iterator[None]:
    """Tell an error of ours in one line, and exit with its status."""
    try:
        with single_error():
            yield
    except HopbedError as error:
        click.echo(f"hopbed: {error}", err=True)
        sys.exit(error.exit_status)


async def _until_signal(verb: Callable[[], Awaitable[int | None]], caught: list[signal.Signals]) -> int:
    with anyio.CancelScope() as scope:
        async with background() as tasks:
            tasks.start_soon(_watch, scope, caught)
            return await verb() or 0
    return 0  # a signal cancelled it


async def _watch(scope: anyio.CancelScope, caught: list[signal.Signals]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            if not caught:
                click.echo(f"hopbed: {signal.Signals(number).name}: taking everything down", err=True)
            caught.append(signal.Signals(number))
            scope.cancel()
