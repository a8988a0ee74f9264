"""What a person sees while a testbed runs: the event stream, on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from nodes.events import Event
from orchestrator.events import EventStream

_QUIET = ("charon.log",)
_VALUES = 4
_LOG_WIDTH = 160


def output() -> Console:
    """Standard output, for what a person reads; wide where it is no terminal."""
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _LOG_WIDTH
    return console


def describe(event: Event) -> str:
    """An event in one line of words."""
    values = [f"{key} {value}" for key, value in event.data.items() if isinstance(value, str | int | float)]
    return " ".join(part for part in (event.kind, event.node, " · ".join(values[:_VALUES])) if part)


class Progress:
    """A sink that shows the latest event on a terminal, and every event in a log."""

    def __init__(self, console: Console, status: Status | None) -> None:
        self._console = console
        self._status = status
        self._start_ns = time.monotonic_ns()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if event.kind in _QUIET:
            return
        seconds = (event.time_ns - self._start_ns) / 1e9
        line = f"{seconds:7.2f} s  {describe(event)}"
        if self._status is not None:
            self._status.update(line)
        else:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress_sink(*, quiet: bool = False) -> Iterator[Progress]:
    """A sink that shows events for the length of the context; none of them if ``quiet``."""
    console = Console(stderr=True, quiet=quiet, emoji=False)
    if console.is_terminal and not quiet:
        with console.status("starting") as status:
            yield Progress(console, status)
    else:
        yield Progress(console, None)


@contextmanager
def progress(events: EventStream, *, quiet: bool = False) -> Iterator[None]:
    """Show the events of the stream for the length of the context, unless ``quiet``."""
    with progress_sink(quiet=quiet) as sink:
        events.add_sink(sink, replay=True)
        yield
        events.remove_sink(sink)
