"""charon as a child of the agent: started, known to be ready, watched, ended."""

from __future__ import annotations

import collections
import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
from anyio.streams.text import TextReceiveStream

from nodes import errors

START_TIMEOUT = 20.0
"""Seconds that charon has to start; it takes hundredths of one."""
STOP_TIMEOUT = 5.0
"""Seconds that charon has to end after SIGTERM, before SIGKILL."""
PID_FILE = Path("/var/run/charon.pid")
"""Compiled into charon. /run is the node's own, so this one is always ours."""
LAST_LINES = 12
"""How many of the last log lines a death is told with."""

_RUNNING = re.compile(r"spawning \d+ worker threads")
"""charon's last words before it goes to work; its sockets are bound by then."""


class Charon:
    """A charon that runs. ``started_ns`` is CLOCK_MONOTONIC, ``ready_ms`` the time until it was running."""

    def __init__(self, process: anyio.abc.Process, log: Path, *, log_start: int, started_ns: int) -> None:
        self.pid = process.pid
        self.started_ns = started_ns
        self.ready_ms = 0.0
        self._process = process
        self._log = log
        self._log_start = log_start
        self._said: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._running = anyio.Event()

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return (time.monotonic_ns() - self.started_ns) / 1e9

    @property
    def memory(self) -> int:
        """The resident set, in octets; 0 where it is gone."""
        with contextlib.suppress(OSError):
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        return 0

    async def wait(self) -> int:
        """Wait for its end and return its status, negative for a signal."""
        return await self._process.wait()

    def last_lines(self) -> list[str]:
        """The last lines of its log, or, where it wrote none, what it said on its standard error."""
        lines: list[str] = []
        with contextlib.suppress(OSError), self._log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, log.tell() - 16_384))
            lines = log.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        return lines or list(self._said)

    async def _follow(self) -> None:
        """Read its standard error to the end, so that it never blocks on us."""
        assert self._process.stderr is not None
        rest = ""
        async for text in TextReceiveStream(self._process.stderr, errors="replace"):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                self._said.append(line)
                if _RUNNING.search(line):
                    self.ready_ms = (time.monotonic_ns() - self.started_ns) / 1e6
                    self._running.set()
        if rest:
            self._said.append(rest)
        self._running.set()  # it ended

    async def _until_running(self) -> None:
        with anyio.move_on_after(START_TIMEOUT):
            await self._running.wait()
            if self.ready_ms:
                return
            status = await self._process.wait()
            raise errors.DaemonError(f"charon did not start, {ending(status)}: {self._words()}")
        raise errors.DaemonError(f"charon did not start within {START_TIMEOUT:g} s: {self._words()}")

    def _words(self) -> str:
        return " | ".join(self.last_lines()) or "it said nothing"

    async def _end(self) -> None:
        for number, timeout in ((signal.SIGTERM, STOP_TIMEOUT), (signal.SIGKILL, STOP_TIMEOUT)):
            if self._process.returncode is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            with anyio.move_on_after(timeout):
                await self._process.wait()


def ending(status: int) -> str:
    """How a process ended, in words."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"


@asynccontextmanager
async def running_charon(command: Sequence[str], configuration: Path, log: Path) -> AsyncIterator[Charon]:
    """Run charon with this strongswan.conf; the context's value answers VICI, and is gone after it.

    It dies with the agent too, whatever that dies of (PR_SET_PDEATHSIG).

    Raises:
        DaemonError: it did not start; the text has its last words.
    """
    with contextlib.suppress(
        OSError
    ):  # of a run that ended badly; its number may be another process's by now
        PID_FILE.unlink()
    environment: Mapping[str, str] = {**os.environ, "STRONGSWAN_CONF": str(configuration)}
    log_start, started_ns = log.stat().st_size if log.exists() else 0, time.monotonic_ns()
    process = await anyio.open_process(
        ["setpriv", "--pdeathsig", "KILL", "--", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    charon = Charon(process, log, log_start=log_start, started_ns=started_ns)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(charon._follow)
        try:
            await charon._until_running()
            yield charon
        finally:
            with anyio.CancelScope(shield=True):
                await charon._end()
            tasks.cancel_scope.cancel()
