"""The hop daemon as the terminal's agent runs it: started when it is first needed, and again when it died.

The daemon (:mod:`nodes.terminal.__main__`) speaks JSON-RPC lines on its standard streams, as the control
channel does. What it was told of lasting effect is told again to the next one, which finds the rest in the
state file and in the kernel; likewise when the agent itself was killed, and its daemon with it.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import msgspec
from anyio.streams.text import TextReceiveStream

from nodes import errors
from nodes.control.messages import LineSplitter, Request, Response, decode, encode_request, error_from
from nodes.events import Event
from nodes.keeper import Orders
from nodes.program import FAILED, READY, error_of
from nodes.role import Publish

START_TIMEOUT = 20.0
"""Seconds that the daemon has to start; it takes tenths of one."""
STOP_TIMEOUT = 5.0
MOST_DEATHS = 5
"""Deaths within :data:`DEATHS_WITHIN` seconds after which it is not started again."""
DEATHS_WITHIN = 30.0
LAST_LINES = 12
DIED = "terminal.died"
RESTARTED = "terminal.restarted"


class _Process:
    """One life of the daemon."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process
        self.ready = anyio.Event()
        self.failure: errors.HopbedError | None = None
        self.said: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self.waiting: dict[int, tuple[anyio.Event, list[Response]]] = {}
        self.number = 0

    async def call(self, method: str, params: Any) -> msgspec.Raw:
        self.number += 1
        answered, answers = self.waiting[self.number] = anyio.Event(), []
        number = self.number
        try:
            assert self.process.stdin is not None
            try:
                await self.process.stdin.send(encode_request(number, method, params))
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self.process.wait()
            else:
                await answered.wait()
        finally:
            del self.waiting[number]
        if not answers:
            raise errors.DaemonError("the hop daemon died over this call; it is started again")
        if answers[0].error is not None:
            raise error_from(answers[0].error)
        return answers[0].result

    def ended(self) -> None:
        self.ready.set()
        for answered, _ in self.waiting.values():
            answered.set()


class HopDaemon:
    """The daemon of a node, whichever life it is in.

    Args:
        publish: puts its events on the stream.
        arguments: of its command line.
        orders: what it was told of lasting effect, perhaps by agents before this one.
    """

    def __init__(self, publish: Publish, arguments: Sequence[str], orders: Orders) -> None:
        self._publish = publish
        self._orders = orders
        self._arguments = arguments
        self._lock = anyio.Lock()
        self._wanted = anyio.Event()
        self._up = anyio.Event()
        self._current: _Process | None = None
        self._failure: errors.HopbedError | None = None
        self._again = False

    @property
    def pid(self) -> int | None:
        """The process that it is now; None where there is none."""
        return None if self._current is None else self._current.process.pid

    def want(self, *, again: bool = False) -> None:
        """Start it, if it was not yet; ``again``: an agent before this one had it."""
        self._again = again
        self._wanted.set()

    async def call(self, method: str, params: Any, *, lasting: str | None = None) -> msgspec.Raw:
        """Call a method of the daemon.

        Args:
            method: its name.
            params: its parameter.
            lasting: what the next life must be told too, under this name, in place of what had it before.

        Raises:
            HopbedError: what the daemon raised; ``DaemonError`` where it died over the call.
        """
        self._wanted.set()
        while self._current is None:
            if self._failure is not None:
                raise self._failure
            await self._up.wait()
        result = await self._current.call(method, params)
        if lasting is not None:
            self._orders.keep(lasting, method, params)
        return result

    async def run(self) -> None:
        """Keep the daemon alive from the moment that it is wanted, until cancelled.

        Raises:
            DaemonError: it dies again and again.
            HopbedError: it cannot start here; the text says why.
        """
        await self._wanted.wait()
        await _end_others(self._arguments)
        deaths: collections.deque[float] = collections.deque(maxlen=MOST_DEATHS)
        try:
            while True:
                async with self._life(again=self._again or bool(deaths)) as life:
                    status = await life.process.wait()
                deaths.append(time.monotonic())
                self._publish(DIED, status=status, log=list(life.said))
                if len(deaths) == MOST_DEATHS and deaths[-1] - deaths[0] < DEATHS_WITHIN:
                    raise errors.DaemonError(
                        f"the hop daemon died {MOST_DEATHS} times within {DEATHS_WITHIN:g} s, at last with "
                        f"status {status}: {' | '.join(life.said)}"
                    )
        except errors.HopbedError as error:
            self._failure = error
            raise
        finally:
            self._up.set()

    @asynccontextmanager
    async def _life(self, *, again: bool) -> AsyncIterator[_Process]:
        argv = [sys.executable, "-m", "nodes.terminal", *self._arguments]
        process = await anyio.open_process(
            ["setpriv", "--pdeathsig", "KILL", "--", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        life = _Process(process)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen, life)
                tasks.start_soon(_keep_last_words, life)
                await self._begin(life)
                if again:
                    self._publish(RESTARTED, pid=process.pid)
                yield life
        finally:
            self._current = None
            self._up = anyio.Event()
            with anyio.CancelScope(shield=True):
                await _end(process)
            life.ended()

    async def _begin(self, life: _Process) -> None:
        with anyio.move_on_after(START_TIMEOUT):
            await life.ready.wait()
        if life.failure is not None:
            raise life.failure
        if not life.ready.is_set():
            raise errors.DaemonError(f"the hop daemon did not start within {START_TIMEOUT:g} s")
        for method, params in self._orders.all().values():
            await life.call(method, params)
        await life.call("terminal.begin", {})
        self._current = life
        self._up.set()

    async def _listen(self, life: _Process) -> None:
        assert life.process.stdout is not None
        splitter = LineSplitter()
        async for data in life.process.stdout:
            for line in splitter.feed(data):
                self._take(life, decode(line))
        life.ended()

    def _take(self, life: _Process, said: Request | Response) -> None:
        if isinstance(said, Request):
            event = msgspec.json.decode(said.params, type=Event)
            if event.kind == READY:
                life.ready.set()
            elif event.kind == FAILED:
                life.failure = error_of(event)
                life.ready.set()
            else:
                self._publish(event.kind, **event.data)
        elif said.id in life.waiting:
            answered, answers = life.waiting[said.id]
            answers.append(said)
            answered.set()


async def _end_others(arguments: Sequence[str]) -> None:
    """Wait until no daemon of an agent that was killed is left: the kernel kills it with the agent.

    It may take a while to go, and until then it has the sockets that the next one binds.
    """
    wanted = [b"nodes.terminal", *(argument.encode() for argument in arguments)]
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it is no process, or one that ended
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if all(word in words for word in wanted):
                ended = os.pidfd_open(int(folder.name))
                try:
                    signal.pidfd_send_signal(ended, signal.SIGKILL)
                    await anyio.wait_readable(ended)
                finally:
                    os.close(ended)


async def _keep_last_words(life: _Process) -> None:
    assert life.process.stderr is not None
    async for text in TextReceiveStream(life.process.stderr, errors="replace"):
        life.said.extend(line for line in text.splitlines() if line)


async def _end(process: anyio.abc.Process) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.aclose()
    with anyio.move_on_after(STOP_TIMEOUT):
        await process.wait()
        return
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
