"""The log of one end of a flow: a header, then records of a fixed size, little-endian.

::

    header    magic "hopbflow" · version 16 · kind 16 (1 sent, 2 received) · record octets 32
              · flow id 64 · nominal interval 64 (ns; 0 in a receiver's log)
    sent      sequence 64 · sent 64 (ns) · call 32 (µs that the send call took) · errno 32 (0: handed over)
    received  sequence 64 · received 64 (ns) · sent 64 (ns, as the probe says)

Times are CLOCK_MONOTONIC. Records are written out several times a second, so that what is known survives a
kill; a reader ignores a last record that is cut short.
"""

from __future__ import annotations

import contextlib
import enum
import os
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from nodes import errors

MAGIC = b"hopbflow"
VERSION = 1
HEADER = struct.Struct("<8sHHIQQ")
SENT = struct.Struct("<QqII")
RECEIVED = struct.Struct("<Qqq")

FLUSH_NS = 200_000_000
"""The longest that a record waits before it is written out, while the flow runs."""

_MAX_CALL_US = 2**32 - 1


class LogKind(enum.IntEnum):
    """Which end of the flow wrote the log."""

    SENT = 1
    RECEIVED = 2


class FlowLog:
    """Writes the log of one end of a flow to a new file.

    The file is readable by all and belongs to HOPBED_OWNER where that is set and can be done.

    Raises:
        FlowError: the file exists or cannot be made.
    """

    def __init__(self, path: Path, kind: LogKind, *, flow_id: int, interval_ns: int = 0) -> None:
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise errors.FlowError(f"{path} exists; each flow of a run needs a name of its own") from None
        except OSError as error:
            raise errors.FlowError(f"cannot write the flow's log {path}: {error.strerror}") from None
        os.fchmod(self._file, 0o644)
        owner = os.environ.get("HOPBED_OWNER", "")
        if owner.isdecimal() and os.geteuid() == 0:
            with contextlib.suppress(OSError):  # in a user namespace the owner may have no uid
                os.fchown(self._file, int(owner), -1)
        record = SENT if kind is LogKind.SENT else RECEIVED
        self._waiting = bytearray(HEADER.pack(MAGIC, VERSION, kind, record.size, flow_id, interval_ns))
        self.flush()

    def sent(self, sequence: int, sent_ns: int, returned_ns: int, errno: int) -> None:
        """Note a probe that was sent, or whose sending failed with ``errno``."""
        call_us = min((returned_ns - sent_ns) // 1000, _MAX_CALL_US)
        self._waiting += SENT.pack(sequence, sent_ns, call_us, errno)
        if returned_ns >= self.flush_due_ns:
            self.flush()

    def received(self, sequence: int, received_ns: int, sent_ns: int) -> None:
        """Note the arrival of a probe; the caller flushes once :attr:`flush_due_ns` has passed."""
        self._waiting += RECEIVED.pack(sequence, received_ns, sent_ns)

    @property
    def waiting(self) -> bool:
        """Whether there are records that are not written out."""
        return bool(self._waiting)

    def flush(self) -> None:
        """Write out every record."""
        while self._waiting:
            del self._waiting[: os.write(self._file, self._waiting)]
        self.flush_due_ns = time.monotonic_ns() + FLUSH_NS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        os.close(self._file)
