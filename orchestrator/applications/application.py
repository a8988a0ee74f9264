"""What the applications share: a server that listens, a client that runs to its end, and what is found."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
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
_LISTEN_TIMEOUT = 15.0
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
        start_ns, end_ns: when its client ran, CLOCK_MONOTONIC.
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
    """An application whose client is under way.

    Attributes:
        connected: set once its connection stands, where its server says so (iperf3), and at its end.
        ended: set at its end.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.connected = anyio.Event()
        self.ended = anyio.Event()
        self._finding: Finding | None = None

    async def wait(self) -> Finding:
        """Wait until the client ended by itself, and judge it."""
        await self.ended.wait()
        assert self._finding is not None
        return self._finding

    def conclude(self, finding: Finding) -> None:
        """The client ended."""
        self._finding = finding
        self.connected.set()
        self.ended.set()


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


class Server:
    """A server that listens, and the last of what it said on its standard streams."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self._more = anyio.Event()

    def hear(self, octets: bytes) -> None:
        """It said something."""
        self.heard.extend(octets)
        del self.heard[:-_LAST_WORDS]
        self._more.set()
        self._more = anyio.Event()

    async def says(self, sign: str) -> None:
        """Wait until it said this; for ever where it does not."""
        while sign.encode() not in self.heard:
            await self._more.wait()


@asynccontextmanager
async def listening(ends: Ends, name: str, argv: Sequence[str], sign: str) -> AsyncIterator[Server]:
    """A server that runs for the length of the context; within it it listens, as it said by ``sign``.

    Raises:
        NodeError: it ended before it listened, or did not come to it; the text has its last words.
    """
    process = await anyio.open_process(
        ends.runtime.command(ends.server.name, argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    server = Server()
    listens, ended = anyio.Event(), anyio.Event()

    async def hear() -> None:
        assert process.stdout is not None
        async for octets in process.stdout:
            server.hear(octets)
            if sign.encode() in server.heard:
                listens.set()
        ended.set()
        listens.set()

    try:
        async with background() as tasks:
            tasks.start_soon(hear)
            with anyio.move_on_after(_LISTEN_TIMEOUT):
                await listens.wait()
            if ended.is_set() or not listens.is_set():
                said = " ".join(server.heard.decode(errors="replace").split())
                raise errors.NodeError(f"{ends.server.name}: {name} does not listen: {said or 'no word'}")
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
    feed: Callable[[anyio.abc.ByteSendStream], Any] | None = None,
) -> AsyncIterator[Application]:
    """A client that is under way within the context; after it, it is gone, ended by itself or not.

    Args:
        judge: makes the finding of how it ended.
        feed: an async function that writes to its standard input, which is closed when it returns.
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

    async def write(stream: anyio.abc.ByteSendStream) -> None:
        assert feed is not None
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await feed(stream)
        await stream.aclose()

    async def follow() -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        async with anyio.create_task_group() as reading:
            reading.start_soon(read, process.stdout, output)
            reading.start_soon(read, process.stderr, said)
            if process.stdin is not None:
                reading.start_soon(write, process.stdin)
        status = await process.wait()
        application.conclude(
            judge(
                Ended(
                    status=status,
                    output=bytes(output),
                    said=" ".join(said.decode(errors="replace").split())[-300:],
                    start_ns=start_ns,
                    end_ns=time.monotonic_ns(),
                )
            )
        )

    try:
        async with background() as tasks:
            tasks.start_soon(follow)
            yield application
    finally:
        await _end(process)
