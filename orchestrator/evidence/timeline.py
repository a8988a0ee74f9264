"""``timeline.jsonl``: every event of a run, one JSON document a line, as it comes."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from nodes import errors
from nodes.events import Event


class Timeline:
    """A sink of the event stream that writes each event at once, so that it survives a kill.

    The lines are in the order in which the events were heard of; what happens in a node may be heard of late.

    Raises:
        OSError: the file cannot be made, or, on a call, written.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def __call__(self, event: Event) -> None:
        """Write one event."""
        line = msgspec.json.encode(event) + b"\n"
        while line:
            line = line[os.write(self._file, line) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_timeline(path: Path) -> list[Event]:
    """The events of a timeline in the order in which they happened.

    A last line that is cut short, as a run that was killed may leave it, is passed over.

    Raises:
        UsageError: the file cannot be read, or another line is no event; the text names it.
    """
    try:
        *lines, _cut_short = path.read_bytes().split(b"\n")
    except OSError as error:
        raise errors.UsageError(f"{path}: {error.strerror}") from None
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(msgspec.json.decode(line, type=Event))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise errors.UsageError(f"{path}:{number}: not an event: {error}") from None
    return sorted(events, key=lambda event: event.time_ns)
