"""The core's state, in a file of the node's own, for the next program after this one died."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class StateFile:
    """Written whole and put in place by a rename: there is always one that is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = path.with_name(f".{path.name}")
        self._written = b""

    def read(self) -> bytes | None:
        """What a program before this one wrote last; None where none did."""
        with contextlib.suppress(FileNotFoundError):
            return self._path.read_bytes()
        return None

    def write(self, state: bytes) -> None:
        """Keep this state, readable by the owner alone."""
        if state == self._written:
            return
        descriptor = os.open(self._next, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, state)
        finally:
            os.close(descriptor)
        self._next.rename(self._path)
        self._written = state

    def remove(self) -> None:
        """Keep nothing."""
        for path in (self._path, self._next):
            path.unlink(missing_ok=True)
