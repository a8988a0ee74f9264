"""``run.json``: what was run and how to run it again, schema ``hopbed.run/1``."""

from __future__ import annotations

import datetime
import time
from typing import Any, Final

import msgspec

SCHEMA: Final = "hopbed.run/1"


class CapturedInterface(msgspec.Struct, frozen=True, kw_only=True):
    """The packets that an interface gave to its capture.

    ``marked`` is whether a mark at the end proves that none that came before is missing.
    """

    name: str
    received: int
    dropped: int
    marked: bool


class CaptureFile(msgspec.Struct, frozen=True, kw_only=True):
    """One capture of a run.

    Attributes:
        file: relative to the evidence folder.
        packets: in the file.
        dropped: by the kernel and by dumpcap.
        clock_offset_ns: what to take from the file's times, CLOCK_REALTIME, to get the timeline's.
        clock_step_ns: by how much the wall clock was set during the capture.
    """

    file: str
    packets: int
    dropped: int
    interfaces: tuple[CapturedInterface, ...]
    clock_offset_ns: int
    clock_step_ns: int


class RunFile(msgspec.Struct, frozen=True, kw_only=True):
    """What was run.

    Attributes:
        command: what runs it again, as words; ``command_line`` is the same for a shell.
        directory: where it was run.
        started, ended: RFC 3339; ``ended`` is empty for a run that was killed.
        origin_ns: CLOCK_MONOTONIC when it began: the timeline's time of ``start_ms`` 0 in the verdict.
        captures: by place.
    """

    schema: str = SCHEMA
    scenario: str
    parameters: dict[str, Any]
    seed: int
    command: tuple[str, ...]
    command_line: str
    directory: str
    started: str
    ended: str
    origin_ns: int
    captures: dict[str, CaptureFile]
    versions: dict[str, str]


def encode(run: RunFile) -> bytes:
    """The text of ``run.json``."""
    return msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n"


def now() -> str:
    """This moment as RFC 3339 in UTC, to the millisecond."""
    moment = datetime.datetime.fromtimestamp(time.time(), tz=datetime.UTC)
    return moment.isoformat(timespec="milliseconds")
