"""The process ``python -m nodes.esp``, a child of the agent: started, known to be ready, watched, ended."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import msgspec

from nodes.esp.orders import Start
from nodes.events import Event
from nodes.ike.dataplane.base import DataPlaneError
from nodes.program import FAILED, READY, error_of

START_TIMEOUT = 20.0
"""Seconds that the program has to start; it takes tenths of one."""
STOP_TIMEOUT = 5.0
"""Seconds that it has to end, before SIGKILL."""
_LAST = 4096
"""Octets of its last words that are kept."""


class EspProcess:
    """The program, running; made by :func:`running_esp`."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.pid = process.pid
        self._process = process

    async def wait(self) -> str:
        """Wait for its end, and say how it ended."""
        assert self._process.stdout is not None
        said = b""
        with contextlib.suppress(anyio.EndOfStream, anyio.ClosedResourceError):
            while True:
                said = (said + await self._process.stdout.receive())[-_LAST:]
        why = f"the ESP program ended with status {await self._process.wait()}"
        for line in said.splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                event = msgspec.json.decode(line, type=Event)
                if event.kind == FAILED:
                    why += f": {error_of(event)}"
        return why

    async def _until_ready(self) -> None:
        assert self._process.stdout is not None
        line = b""
        with anyio.move_on_after(START_TIMEOUT), contextlib.suppress(anyio.EndOfStream):
            while not line.endswith(b"\n"):
                line += await self._process.stdout.receive()
        try:
            said = msgspec.json.decode(line, type=Event)
        except msgspec.DecodeError:
            raise DataPlaneError(f"the ESP program did not start: it said {line[:200]!r}") from None
        if said.kind != READY:
            raise error_of(said)

    async def _stop(self) -> None:
        """End it as its contract says; if it does not end, kill it."""
        assert self._process.stdin is not None
        await self._process.stdin.aclose()
        with anyio.move_on_after(STOP_TIMEOUT):
            await self._process.wait()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._process.aclose()


@asynccontextmanager
async def running_esp(start: Start, theirs: Sequence[socket.socket]) -> AsyncIterator[EspProcess]:
    """The program for the length of the context. It dies with the agent too (PR_SET_PDEATHSIG).

    Args:
        theirs: its ends of the socket pairs; they are closed here.

    Raises:
        DataPlaneError: it did not start; or what the program says of itself.
    """
    try:
        process = await anyio.open_process(
            [
                *("setpriv", "--pdeathsig", "KILL", "--"),
                *(sys.executable, "-m", "nodes.esp", msgspec.json.encode(start).decode()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            pass_fds=[one.fileno() for one in theirs],
            start_new_session=True,
        )
    finally:
        for one in theirs:
            one.close()
    program = EspProcess(process)
    try:
        await program._until_ready()
        yield program
    finally:
        with anyio.CancelScope(shield=True):
            await program._stop()
