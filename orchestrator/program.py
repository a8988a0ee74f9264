"""A program of ours that runs inside a node, under the contract of :mod:`nodes.program`."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import msgspec

from nodes import errors
from nodes.control.messages import LineSplitter
from nodes.events import Event
from nodes.program import DONE, FAILED, READY, error_of
from orchestrator.tasks import background

_LAST_WORDS = 4096
_KILL_TIMEOUT = 2.0
STOP_TIMEOUT = 20.0
"""Seconds that a program has to say ``done`` after it was told to end."""


class Program:
    """A running program: its events so far, and its end.

    ``ready`` is the event that it began with. ``done`` is set once it ended well.
    """

    def __init__(self, name: str, process: anyio.abc.Process, on_event: Callable[[Event], None]) -> None:
        self.name = name
        self.ready: Event
        self.done: Event | None = None
        self._process = process
        self._on_event = on_event
        self._ready = anyio.Event()
        self._ended = anyio.Event()
        self._failure: errors.HopbedError | None = None
        self._last_words = b""
        self._reading = anyio.CancelScope(shield=True)  # a cancelled owner still hears how it ends

    async def wait_ready(self) -> None:
        """Wait for the ``ready`` event.

        Raises:
            HopbedError: the program failed, as the type that it said; ``NodeError`` if it just ended.
        """
        await self._ready.wait()
        if self._failure is not None:
            raise self._failure

    async def wait(self) -> Event:
        """Wait until the program ends by itself, and return its ``done`` event.

        Raises:
            HopbedError: it failed, as the type that it said; ``NodeError`` if it just ended.
        """
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure
        assert self.done is not None  # an end without it is a failure
        return self.done

    async def tell(self, order: Any) -> None:
        """Give the program an order, a JSON value, as one line on its standard input.

        One that has ended hears nothing; :meth:`wait` says how it ended.
        """
        if self._process.stdin is not None:
            with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._process.stdin.send(msgspec.json.encode(order) + b"\n")

    async def until(self, end: anyio.Event) -> None:
        """Wait until ``end`` is set, or the program ends by itself before that.

        Raises:
            HopbedError: it failed meanwhile, as the type that it said.
        """
        failed: list[errors.HopbedError] = []

        async def until_it_ends() -> None:
            try:
                await self.wait()
            except errors.HopbedError as error:
                failed.append(error)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(until_it_ends)
            await end.wait()
            tasks.cancel_scope.cancel()
        if failed:
            raise failed[0]

    async def stop(self, timeout: float = STOP_TIMEOUT) -> Event:
        """End the program and return its ``done`` event, which holds its results.

        Raises:
            HopbedError: it failed; ``NodeError`` also when it did not end within ``timeout`` seconds.
        """
        if self._process.stdin is not None:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._process.stdin.aclose()
        with anyio.move_on_after(timeout):
            return await self.wait()
        raise errors.NodeError(f"{self.name}: did not end within {timeout:g} s")

    async def follow(self) -> None:
        """Read what the program says until it ends; the task that does this is its owner's."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with self._reading:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen, self._process.stdout)
                tasks.start_soon(self._keep_last_words, self._process.stderr)
            await self._process.wait()
        if self._failure is None and self.done is None:
            text = self._last_words.decode(errors="replace").strip()
            status = self._process.returncode
            self._failure = errors.NodeError(f"{self.name}: ended with status {status}{text and f': {text}'}")
        self._ready.set()
        self._ended.set()

    def release(self) -> None:
        """Hear no more of the program, and let it go on."""
        self._reading.cancel()

    async def end(self) -> None:
        """Make sure that the program is gone: stop it, and kill it if it does not end by itself."""
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(errors.HopbedError):
                await self.stop()
            if self._process.returncode is None:
                self._process.kill()
            with anyio.move_on_after(_KILL_TIMEOUT):
                await self._ended.wait()
            self.release()

    async def _listen(self, stdout: anyio.abc.ByteReceiveStream) -> None:
        splitter = LineSplitter()
        try:
            async for data in stdout:
                for line in splitter.feed(data):
                    self._take(msgspec.json.decode(line, type=Event))
        except (errors.ProtocolError, msgspec.DecodeError) as error:
            self._failure = errors.ProtocolError(f"{self.name}: {error}")

    async def _keep_last_words(self, stderr: anyio.abc.ByteReceiveStream) -> None:
        async for data in stderr:
            self._last_words = (self._last_words + data)[-_LAST_WORDS:]

    def _take(self, said: Event) -> None:
        if said.kind == READY:
            self.ready = said
            self._ready.set()
        elif said.kind == FAILED:
            self._failure = error_of(said)
        elif said.kind == DONE:
            self.done = said
        else:
            self._on_event(said)


def _ignore(_: Event) -> None:
    pass


@asynccontextmanager
async def run_program(
    name: str, command: Sequence[str], *, on_event: Callable[[Event], None] = _ignore, **popen: Any
) -> AsyncIterator[Program]:
    """Run ``command`` as a program called ``name``; the context's value is ready, and is gone after it.

    Raises:
        HopbedError: it did not become ready, as the type that it said.
    """
    process = await anyio.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **popen,
    )
    program = Program(name, process, on_event)
    async with background() as tasks:
        tasks.start_soon(program.follow)
        try:
            await program.wait_ready()
            yield program
        finally:
            await program.end()
