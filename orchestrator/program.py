"""A program of ours that runs inside a node, under the contract of :mod:`nodes.program`."""

from __future__ import annotations

import contextlib
import math
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
        splitter = LineSplitter()
        assert self._process.stdout is not None
        try:
            async for data in self._process.stdout:
                for line in splitter.feed(data):
                    self._take(msgspec.json.decode(line, type=Event))
        except (errors.ProtocolError, msgspec.DecodeError) as error:
            self._failure = errors.ProtocolError(f"{self.name}: {error}")
        status = await self._process.wait()
        if self._failure is None and self.done is None:
            text = await self._last_words()
            self._failure = errors.NodeError(f"{self.name}: ended with status {status}{text}")
        self._ready.set()
        self._ended.set()

    async def _last_words(self) -> str:
        if self._process.stderr is None:
            return ""
        words = b""
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while len(words) < 4096:
                words += await self._process.stderr.receive()
        text = words.decode(errors="replace").strip()
        return f": {text}" if text else ""

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
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **popen
    )
    program = Program(name, process, on_event)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(program.follow)
        try:
            await program.wait_ready()
            yield program
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(STOP_TIMEOUT):
                with contextlib.suppress(errors.HopbedError):
                    await program.stop(math.inf if program.done else STOP_TIMEOUT)
            if process.returncode is None:
                process.kill()
            tasks.cancel_scope.cancel()
