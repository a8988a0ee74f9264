"""Tests that measure time run alone, also where others run side by side.

A lock of readers and writers on two files: every test holds ``room``, one marked ``alone`` for itself. Who
waits for it holds ``door``, so that a test that wants to be alone does not wait for ever for those that come
after it. Tests that want to be alone and follow each other keep the room: the others end once for them all.
"""

import fcntl
from pathlib import Path


class Place:
    """The place of one worker's test among the tests of all workers that share ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._door = (folder / "door").open("a")
        self._room = (folder / "room").open("a")
        self._kept = False

    def take(self, *, alone: bool) -> None:
        """Wait for the place of a test; for nobody else's too, if ``alone``."""
        if self._kept:
            return
        fcntl.flock(self._door, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._door, fcntl.LOCK_UN)

    def leave(self, *, keep: bool) -> None:
        """The test is over; ``keep`` the place where it and the next one both want to be alone."""
        self._kept = keep
        if not keep:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave for good."""
        self._door.close()
        self._room.close()
