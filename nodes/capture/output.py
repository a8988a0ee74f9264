"""Where a capture goes: a file that dumpcap writes by itself, or a live reader."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from nodes import errors

_IN_MODIFY = 2
_READ = 1 << 20


class Output(Protocol):
    """Where dumpcap writes, and a look at what it wrote.

    Attributes:
        descriptor: what dumpcap writes to.
        reader_gone: nobody reads the capture any more.
    """

    descriptor: int
    reader_gone: bool

    def handed_over(self) -> None:
        """dumpcap has the descriptor now."""

    def watched(self) -> Sequence[tuple[int, int]]:
        """The descriptors, with their poll events, that call for :meth:`read` while the capture lasts."""

    def end_begins(self) -> Sequence[tuple[int, int]]:
        """From now on every octet that dumpcap writes is wanted; more such descriptors."""

    def read(self) -> bytes:
        """What dumpcap wrote since; empty where nothing.

        Raises:
            EOFError: dumpcap writes no more.
        """

    def discard(self) -> None:
        """Nothing was captured: leave nothing."""


class FileOutput:
    """A new file, which belongs to HOPBED_OWNER.

    dumpcap gets the open file as its standard output: it gives up its capabilities before it would open a
    file, and could then, though root, not write in another user's folder.

    Raises:
        CaptureError: it exists or cannot be made.
    """

    def __init__(self, path: str) -> None:
        try:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise errors.CaptureError(f"cannot make the capture {path}: {error.strerror}") from None
        self.reader_gone = False
        self._path = path
        owner = os.environ.get("HOPBED_OWNER", "")
        if owner.isdecimal() and os.geteuid() == 0:
            os.fchown(self.descriptor, int(owner), -1)

    def handed_over(self) -> None:
        """See :class:`Output`; it stays open here, to be read."""

    def watched(self) -> Sequence[tuple[int, int]]:
        """See :class:`Output`: none, for nothing passes through this process."""
        return ()

    def end_begins(self) -> Sequence[tuple[int, int]]:
        """See :class:`Output`: an inotify descriptor."""
        libc = ctypes.CDLL(None, use_errno=True)
        self._changes = int(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        watched = f"/proc/self/fd/{self.descriptor}".encode()  # the file may have been moved meanwhile
        if self._changes < 0 or libc.inotify_add_watch(self._changes, watched, _IN_MODIFY) < 0:
            raise errors.CaptureError(f"cannot watch the capture: {os.strerror(ctypes.get_errno())}")
        self._position = os.fstat(self.descriptor).st_size
        return ((self._changes, select.POLLIN),)

    def read(self) -> bytes:
        """See :class:`Output`."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._changes, _READ)
        octets = b""
        while more := os.pread(self.descriptor, _READ, self._position):
            self._position += len(more)
            octets += more
        return octets

    def discard(self) -> None:
        """Remove the empty file."""
        with contextlib.suppress(FileNotFoundError):
            Path(self._path).unlink()


class LiveOutput:
    """Standard output. Events, and whatever else is printed from now on, go to standard error."""

    def __init__(self) -> None:
        self.reader_gone = False
        self._reader = os.dup(1)
        os.dup2(2, 1)
        self._from_dumpcap, self.descriptor = os.pipe()
        os.set_blocking(self._from_dumpcap, False)

    def handed_over(self) -> None:
        """Close it here, so that its end is dumpcap's end."""
        os.close(self.descriptor)

    def watched(self) -> Sequence[tuple[int, int]]:
        """See :class:`Output`; poll says POLLERR of a pipe that nobody reads, unasked."""
        return ((self._from_dumpcap, select.POLLIN), (self._reader, 0))

    def end_begins(self) -> Sequence[tuple[int, int]]:
        """See :class:`Output`."""
        return ()

    def read(self) -> bytes:
        """Pass on what dumpcap wrote, and return it."""
        try:
            octets = os.read(self._from_dumpcap, _READ)
        except BlockingIOError:
            self.reader_gone = True  # no octets were the reason to call: the reader was
            return b""
        if not octets:
            raise EOFError
        written = 0
        while written < len(octets) and not self.reader_gone:
            try:
                written += os.write(self._reader, octets[written:])
            except BrokenPipeError:
                self.reader_gone = True
        return octets

    def discard(self) -> None:
        """There is nothing to remove."""
