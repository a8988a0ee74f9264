"""A capture for a live reader, such as ``wireshark -k -i -``."""

from __future__ import annotations

import subprocess
from typing import IO

import anyio
import anyio.abc
import msgspec
from anyio.abc import TaskStatus

from nodes import errors
from nodes.control.messages import LineSplitter
from nodes.events import Event
from nodes.program import DONE, FAILED, READY, error_of
from orchestrator.capture.captures import Place
from orchestrator.runtimes.base import Runtime

_END_TIMEOUT = 20.0


async def live_capture(
    runtime: Runtime,
    place: Place,
    output: IO[bytes],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> Event:
    """Capture at ``place`` into ``output`` as pcapng, until cancelled or until nobody reads it any more.

    It has started once packets are captured. When it is cancelled, the packets that came until then are
    passed on first. Returns the ``done`` event of :mod:`nodes.capture`.

    Raises:
        MachineError: dumpcap is missing, or may not capture.
        CaptureError: the capture did not start, or ended by itself.
    """
    program = [*runtime.python, "-m", "nodes.capture", *place.arguments(runtime), "--file=-"]
    process = await anyio.open_process(
        runtime.command(place.name, program),
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    words = _Words(task_status)
    try:
        await words.hear(process.stderr)
    except BaseException:
        with anyio.CancelScope(shield=True), anyio.move_on_after(_END_TIMEOUT):
            await process.stdin.aclose()
            await words.hear(process.stderr)
        raise
    finally:
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(_END_TIMEOUT):
                await process.wait()
            if process.returncode is None:
                process.kill()
            await process.aclose()
    return words.done()


class _Words:
    """What the program says on its standard error: its events, and before them whatever starts it says."""

    def __init__(self, task_status: TaskStatus[None]) -> None:
        self._task_status = task_status
        self._splitter = LineSplitter()
        self._last: Event | None = None
        self._other = b""

    async def hear(self, stderr: anyio.abc.ByteReceiveStream) -> None:
        async for data in stderr:
            for line in self._splitter.feed(data):
                try:
                    self._last = msgspec.json.decode(line, type=Event)
                    if self._last.kind == READY:
                        self._task_status.started()
                except (msgspec.DecodeError, UnicodeDecodeError):
                    self._other += line + b"\n"

    def done(self) -> Event:
        if self._last is not None and self._last.kind == FAILED:
            raise error_of(self._last)
        if self._last is None or self._last.kind != DONE:
            text = self._other.decode(errors="replace").strip()
            raise errors.CaptureError(f"the live capture ended{text and f': {text}'}")
        return self._last
