"""What the applications share: a server that listens, a client that runs to its end, and what is found."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc

from nodes import errors
from orchestrator.node import Node
from orchestrator.runtimes.base import Runtime
from orchestrator.tasks import background

FOLDER = "/run/hopbed-applications"
"""Where an application keeps what it needs: a node's /run is its own, and goes with it."""
PATIENCE = 60.0
"""Seconds that an application has to come to its end once it was told to."""
_BEGIN_TIMEOUT = 15.0
_END_TIMEOUT = 5.0
_LAST_WORDS = 8192


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ends:
    """Where an application runs.

    Attributes:
        runtime: of both nodes.
        client: the node of the client.
        server: the node of the server.
        address: the server's, to connect to.
        source: the client's own; None leaves the choice to the kernel.
    """

    runtime: Runtime
    client: Node
    server: Node
    address: str
    source: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of an application.

    Attributes:
        name: of the application.
        expected, measured: for the verdict.
        passed: whether the application came through unharmed.
        figures: numbers by name.
        start_ns, end_ns: when it was under way, CLOCK_MONOTONIC.
    """

    name: str
    expected: str
    measured: str
    passed: bool
    figures: dict[str, Any]
    start_ns: int
    end_ns: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How a client ended: its status, what it wrote, and when it ran."""

    status: int
    output: bytes
    said: str
    start_ns: int
    end_ns: int


Judge = Callable[[Ended], Finding]


class Application:
    """An application whose client runs: it begins, goes on until it is told to end, and ends.

    Attributes:
        name: of the application.
        told: set when it is to come to its end.
        ended: set when its client has.
        begun_ns: when it was under way, CLOCK_MONOTONIC; None before.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.told = anyio.Event()
        self.ended = anyio.Event()
        self.begun_ns: int | None = None
        self._under_way = anyio.Event()
        self._finding: Finding | None = None

    async def begun(self) -> None:
        """Wait until it is under way: its connection carries data; or until it ended before that.

        Raises:
            NodeError: neither came.
        """
        with anyio.move_on_after(_BEGIN_TIMEOUT):
            await self._under_way.wait()
            return
        raise errors.NodeError(f"{self.name} is not under way after {_BEGIN_TIMEOUT:g} s")

    def finish(self) -> None:
        """Let it come to its end; one that ends by itself is left to it."""
        self.told.set()

    async def wait(self) -> Finding:
        """Wait until the client ended, and judge it."""
        await self.ended.wait()
        assert self._finding is not None
        return self._finding

    def begin(self) -> None:
        """It is under way."""
        if self.begun_ns is None:
            self.begun_ns = time.monotonic_ns()
        self._under_way.set()

    def conclude(self, finding: Finding) -> None:
        """The client ended."""
        self._finding = finding
        self.ended.set()
        self._under_way.set()


class Server:
    """A server that listens."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self._process = process
        self._said = bytearray()
        self._changed = anyio.Event()
        self.ended = False

    def hear(self, octets: bytes) -> None:
        """It said this."""
        self._said.extend(octets)
        del self._said[:-_LAST_WORDS]
        self._change()

    def end(self) -> None:
        """It says no more."""
        self.ended = True
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def says(self, sign: str) -> bool:
        """Wait until it said ``sign``; False where it ended without."""
        while sign.encode() not in self._said:
            if self.ended:
                return False
            await self._changed.wait()
        return True

    @property
    def last_words(self) -> str:
        """What it said last, on one line."""
        return " ".join(bytes(self._said).decode(errors="replace").split())

    async def close_input(self) -> None:
        """End its standard input."""
        if self._process.stdin is not None:
            await self._process.stdin.aclose()


def require(done: subprocess.CompletedProcess[bytes], node: Node, program: str, package: str) -> None:
    """Let a missing program be a clear error.

    Raises:
        MachineError: the shell that was to run it says that it is not there.
    """
    if done.returncode == 127:
        raise errors.MachineError(
            f"{program} is not there in {node.name}; install it with `apt-get install {package}`, "
            "or for the docker runtime build the image anew with `make image`"
        )


async def check_program(node: Node, program: str, package: str) -> None:
    """See to it that the node can run ``program``.

    Raises:
        MachineError: it cannot; the text says what mends it.
    """
    done = await node.exec(["sh", "-c", f"command -v {program} >/dev/null || exit 127"], check=False)
    require(done, node, program, package)


@asynccontextmanager
async def listening(ends: Ends, name: str, argv: Sequence[str], sign: str) -> AsyncIterator[Server]:
    """A server that runs for the length of the context; within it it listens, as it said by ``sign``.

    Raises:
        NodeError: it ended before it listened, or did not come to it; the text has its last words.
    """
    process = await anyio.open_process(
        ends.runtime.command(ends.server.name, argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    server = Server(process)

    async def hear() -> None:
        assert process.stdout is not None
        async for octets in process.stdout:
            server.hear(octets)
        server.end()

    try:
        async with background() as tasks:
            tasks.start_soon(hear)
            listens = False
            with anyio.move_on_after(_BEGIN_TIMEOUT):
                listens = await server.says(sign)
            if not listens:
                said = server.last_words or "no word"
                raise errors.NodeError(f"{ends.server.name}: {name} does not listen: {said}")
            yield server
    finally:
        await _end(process)


async def _end(process: anyio.abc.Process) -> None:
    with anyio.CancelScope(shield=True):
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with anyio.move_on_after(_END_TIMEOUT):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        await process.aclose()


@asynccontextmanager
async def client(
    ends: Ends,
    name: str,
    argv: Sequence[str],
    judge: Judge,
    *,
    sign: bytes | None = None,
    feed: Callable[[anyio.abc.ByteSendStream, Application], Awaitable[None]] | None = None,
    patience: float = PATIENCE,
) -> AsyncIterator[Application]:
    """A client that is under way within the context; after it, it is gone, ended by itself or not.

    Args:
        judge: makes the finding of how it ended.
        sign: is in its output once it is under way; without one, the caller says so
            (:meth:`Application.begin`).
        feed: writes to its standard input, which is closed when this returns.
        patience: seconds that it has to end once it was told to; it is ended after them.
    """
    application = Application(name)
    start_ns = time.monotonic_ns()
    process = await anyio.open_process(
        ends.runtime.command(ends.client.name, argv),
        stdin=subprocess.DEVNULL if feed is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    output, said = bytearray(), bytearray()

    async def read(stream: anyio.abc.ByteReceiveStream, into: bytearray) -> None:
        async for octets in stream:
            into.extend(octets)
            if sign is not None and application.begun_ns is None and sign in output:
                application.begin()

    async def write(stream: anyio.abc.ByteSendStream) -> None:
        assert feed is not None
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await feed(stream, application)
        await stream.aclose()

    async def lose_patience() -> None:
        await application.told.wait()
        await anyio.sleep(patience)
        with contextlib.suppress(ProcessLookupError):
            process.terminate()

    async def follow() -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        async with anyio.create_task_group() as reading:
            reading.start_soon(read, process.stdout, output)
            reading.start_soon(read, process.stderr, said)
            if process.stdin is not None:
                reading.start_soon(write, process.stdin)
            status = await process.wait()
            application.told.set()  # nobody is left to feed
        application.conclude(
            judge(
                Ended(
                    status=status,
                    output=bytes(output),
                    said=" ".join(said.decode(errors="replace").split())[-300:],
                    start_ns=start_ns if application.begun_ns is None else application.begun_ns,
                    end_ns=time.monotonic_ns(),
                )
            )
        )

    try:
        async with background() as tasks:
            tasks.start_soon(follow)
            tasks.start_soon(lose_patience)
            yield application
    finally:
        await _end(process)


async def until_told(stream: anyio.abc.ByteSendStream, application: Application) -> None:  # noqa: ARG001
    """Feed nothing, and hold the client's standard input open until it is told to end."""
    await application.told.wait()
