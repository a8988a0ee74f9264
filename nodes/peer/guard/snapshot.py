"""The file by which a restarted guard takes up what is inactive."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from nodes.abnormality.machine import Record

LONGEST = 4 * 1024 * 1024
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Saved(msgspec.Struct):
    """``boot``: CLOCK_MONOTONIC begins anew with each."""

    boot: str
    records: list[Record]


def save(path: Path, records: Sequence[Record]) -> None:
    """Write what is remembered, whole or not at all."""
    saved = _Saved(boot=_BOOT_ID.read_text().strip(), records=list(records))
    fresh = path.with_name(f".{path.name}")
    fresh.touch(mode=0o600)
    fresh.write_bytes(msgspec.json.encode(saved))
    fresh.replace(path)


def load(path: Path) -> list[Record]:
    """What an earlier guard of this boot remembered; nothing where the file is missing or not one of ours."""
    with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        if path.stat().st_size <= LONGEST and path.stat().st_uid == os.geteuid():
            saved = msgspec.json.decode(path.read_bytes(), type=_Saved)
            if saved.boot == _BOOT_ID.read_text().strip():
                return saved.records
    return []
