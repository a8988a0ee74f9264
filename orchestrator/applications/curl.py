"""curl, unmodified: a large file from a web server, and whether it arrived as it was.

The download lasts until it is told to end: the server paces it (:mod:`nodes.traffic.download_server`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nodes.traffic.download_server import SERVING
from orchestrator.applications.application import (
    FOLDER,
    PATIENCE,
    Application,
    Ended,
    Ends,
    Finding,
    Server,
    check_program,
    client,
    listening,
)
from orchestrator.tasks import background

PORT = 8080
_NAME = "curl"
_WEB = f"{FOLDER}/web"
_MAKE = f'mkdir -p {_WEB} && head -c "$1" /dev/urandom >{_WEB}/large && sha256sum <{_WEB}/large'
_GET = 'curl --silent --show-error --fail "$@" | sha256sum; exit "${PIPESTATUS[0]}"'
_STATS = "%{stderr}%{size_download} %{time_total} %{num_connects}"
_SLOWEST = 4e6
"""Octets a second, of what is left of a download once it may end."""


@asynccontextmanager
async def running(ends: Ends, *, octets: int, seconds: float, port: int = PORT) -> AsyncIterator[Application]:
    """Download ``octets`` within the context, until told to end.

    The server begins at the rate at which they would take ``seconds``, goes on ever more slowly and does not
    come to the end before it is told to; then it sends what is left as fast as it goes.

    Raises:
        MachineError: curl is not there.
        NodeError: the server does not listen.
    """
    await check_program(ends.client, "curl", "curl")
    made = await ends.server.exec(["sh", "-c", _MAKE, "sh", str(octets)])
    digest = made.stdout.split()[0].decode()
    serve = [*ends.runtime.python, "-m", "nodes.traffic.download_server"]
    serve += ["--folder", _WEB, "--port", str(port), "--seconds", f"{seconds:g}"]
    get = [
        *(["--interface", ends.source] if ends.source is not None else []),
        *("--write-out", _STATS, f"http://[{ends.address}]:{port}/large"),
    ]

    def judge(ended: Ended) -> Finding:
        return _judge(ended, octets, digest)

    argv, patience = ["bash", "-c", _GET, "curl", *get], PATIENCE + octets / _SLOWEST
    try:
        async with (
            listening(ends, "the web server", serve, SERVING) as server,
            client(ends, _NAME, argv, judge, patience=patience) as application,
            background() as tasks,
        ):
            tasks.start_soon(_follow, application, server)
            yield application
    finally:
        await ends.server.exec(["rm", "-rf", _WEB], check=False)


async def _follow(application: Application, server: Server) -> None:
    """The download is under way once the server answers; it may end when the application is told to."""
    if await server.says('"GET /large'):
        application.begin()
    await application.told.wait()
    await server.close_input()


def _judge(ended: Ended, octets: int, digest: str) -> Finding:
    words = ended.said.split()
    whole = ended.status == 0 and len(words) >= 3
    got, connections = (int(words[-3]), int(words[-1])) if whole else (0, 0)
    arrived = ended.output.split()[0].decode() if ended.output else ""
    passed = ended.status == 0 and got == octets and arrived == digest and connections == 1
    return Finding(
        name=_NAME,
        expected=f"{octets} octets with the digest that they had, in one connection",
        measured=(
            f"{got} octets, {'identical' if arrived == digest else 'not identical'}, "
            f"connections: {connections}"
            + ("" if ended.status == 0 else f"; curl ended with status {ended.status}: {ended.said}")
        ),
        passed=passed,
        figures={"octets": got, "seconds": (ended.end_ns - ended.start_ns) / 1e9},
        start_ns=ended.start_ns,
        end_ns=ended.end_ns,
    )
