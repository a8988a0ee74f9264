"""The guard as a child of the agent: started, given orders, heard, ended."""

from __future__ import annotations

import contextlib
import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc
import msgspec

from nodes import errors
from nodes.control.messages import LineSplitter
from nodes.events import Event
from nodes.peer.guard.orders import ANSWER, AnyOrder, Start
from nodes.program import DONE, FAILED, READY, error_of

START_TIMEOUT = 20.0
END_TIMEOUT = 5.0


class Child:
    """One guard process. Of what it says, events go to ``on_event``; its end, if unasked, to ``on_death``.

    It ends with its standard input, and so with the agent, whatever that dies of.
    """

    def __init__(self, on_event: Callable[[Event], None], on_death: Callable[[int], None]) -> None:
        self._on_event = on_event
        self._on_death = on_death
        self._process: anyio.abc.Process
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Answer] = {}
        self._outgoing, self._orders = anyio.create_memory_object_stream[bytes](math.inf)
        self._ready = anyio.Event()
        self._failure: errors.HopbedError | None = None
        self._asked_to_end = False
        self.ended = anyio.Event()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def start(self, start: Start, tasks: anyio.abc.TaskGroup) -> None:
        """Start it; it guards when this returns. ``tasks`` follow it to its end.

        Raises:
            MachineError: the kernel, or the node's rights, do not allow what it needs.
            NodeError: it did not start.
        """
        self._process = await anyio.open_process(
            [sys.executable, "-m", "nodes.peer.guard", msgspec.json.encode(start).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            start_new_session=True,
        )
        tasks.start_soon(self._follow)
        tasks.start_soon(self._write)
        with anyio.move_on_after(START_TIMEOUT):
            await self._ready.wait()
        if not self._ready.is_set() or self._failure is not None or self.ended.is_set():
            await self.end()
            raise self._failure or errors.NodeError("the guard did not start")

    async def order(self, make: Callable[[int], AnyOrder]) -> dict[str, Any]:
        """Give an order, made for its id, and return the answer; what was said before was heard before.

        Raises:
            NodeError: the guard is gone.
        """
        id_ = next(self._ids)
        answer = self._waiting[id_] = _Answer()
        try:
            if self.ended.is_set():
                raise errors.NodeError("the guard has died")
            self._outgoing.send_nowait(msgspec.json.encode(make(id_)) + b"\n")
            await answer.arrived.wait()
        finally:
            del self._waiting[id_]
        if answer.data is None:
            raise errors.NodeError("the guard has died")
        return answer.data

    async def end(self) -> None:
        """End it, if it runs still; what it held in the kernel goes with it."""
        self._asked_to_end = True
        with anyio.CancelScope(shield=True):
            self._outgoing.close()
            with anyio.move_on_after(END_TIMEOUT):
                await self.ended.wait()
                return
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self.ended.wait()

    async def _write(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with self._process.stdin:
                async for line in self._orders:
                    await self._process.stdin.send(line)

    async def _follow(self) -> None:
        assert self._process.stdout is not None
        splitter = LineSplitter()
        with anyio.CancelScope(shield=True):  # its owner ends it, and hears it out
            try:
                async for data in self._process.stdout:
                    for line in splitter.feed(data):
                        self._take(msgspec.json.decode(line, type=Event))
            except (errors.ProtocolError, msgspec.DecodeError) as error:
                self._failure = errors.ProtocolError(f"the guard: {error}")
                self._process.kill()
            status = await self._process.wait()
        was_ready = self._ready.is_set()
        self.ended.set()
        self._ready.set()
        self._outgoing.close()
        for answer in self._waiting.values():
            answer.arrived.set()
        if was_ready and not self._asked_to_end:
            self._on_death(status)

    def _take(self, said: Event) -> None:
        if said.kind == READY:
            self._ready.set()
        elif said.kind == FAILED:
            self._failure = error_of(said)
        elif said.kind == ANSWER:
            waiting = self._waiting.get(said.data["id"])
            if waiting is not None:
                waiting.data = said.data
                waiting.arrived.set()
        elif said.kind != DONE:
            self._on_event(said)


class _Answer:
    def __init__(self) -> None:
        self.arrived = anyio.Event()
        self.data: dict[str, Any] | None = None
