"""Who answers for a run: a process, told apart from any later one that gets the same number."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
_DEAD_STATES = "ZX"


@dataclasses.dataclass(frozen=True)
class Owner:
    """A process of this machine, as a label can hold it.

    Attributes:
        uid: the user whose run it is.
        pid: the process id in ``pid_namespace``.
        started: when the process started, in clock ticks since boot (proc(5), field 22 of stat).
        boot_id: the kernel's random id of this boot.
        pid_namespace: the inode of the PID namespace; in another one ``pid`` means another process.
    """

    uid: int
    pid: int
    started: int
    boot_id: str
    pid_namespace: int

    @classmethod
    def this_process(cls) -> Self:
        """The calling process."""
        pid = os.getpid()
        _state, started = state_and_start((_PROC / str(pid) / "stat").read_text())
        return cls(os.getuid(), pid, started, _boot_id(), _pid_namespace())

    def __str__(self) -> str:
        return f"{self.uid}:{self.pid}:{self.started}:{self.boot_id}:{self.pid_namespace}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The owner that ``str`` wrote.

        Raises:
            ValueError: it is none.
        """
        uid, pid, started, boot_id, pid_namespace = text.split(":")
        return cls(int(uid), int(pid), int(started), boot_id, int(pid_namespace))

    @property
    def is_of_this_boot(self) -> bool:
        """Whether the machine has not been booted since."""
        return self.boot_id == _boot_id()

    def is_gone(self) -> bool:
        """Whether the process has certainly ended; False where that cannot be told from here."""
        if not self.is_of_this_boot:
            return True
        if self.pid_namespace != _pid_namespace():
            return False
        try:
            state, started = state_and_start((_PROC / str(self.pid) / "stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            return True
        return started != self.started or state in _DEAD_STATES


def state_and_start(stat: str) -> tuple[str, int]:
    """The state and the start time in the text of ``/proc/PID/stat``; the name in it may hold anything."""
    fields = stat[stat.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])


def _boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _pid_namespace() -> int:
    return (_PROC / "self/ns/pid").stat().st_ino
