"""Tests that measure time run alone, also where others run side by side.

A lock of readers and writers on two files: every test holds ``room``, one marked ``alone`` for itself. Who
waits for it holds ``door``, so that a test that wants to be alone does not wait for ever for those that come
after it.
"""

import contextlib
import fcntl
from pathlib import Path


@contextlib.contextmanager
def in_company(folder: Path, *, alone: bool):
    """Hold the place of one test among all that share ``folder``; nobody else's if ``alone``."""
    with (folder / "door").open("a") as door, (folder / "room").open("a") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
