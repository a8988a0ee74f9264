"""curl, unmodified: a large file from a web server, and whether it arrived as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.applications.application import (
    FOLDER,
    Application,
    Ended,
    Ends,
    Finding,
    check_program,
    client,
    listening,
)

PORT = 8080
_NAME = "curl"
_WEB = f"{FOLDER}/web"
_MAKE = f'mkdir -p {_WEB} && head -c "$1" /dev/urandom >{_WEB}/large && sha256sum <{_WEB}/large'
_GET = 'curl --silent --show-error --fail "$@" | sha256sum; exit "${PIPESTATUS[0]}"'
_STATS = "%{stderr}%{size_download} %{time_total} %{num_connects}"


@asynccontextmanager
async def running(ends: Ends, *, octets: int, seconds: float, port: int = PORT) -> AsyncIterator[Application]:
    """Download ``octets`` within the context, at the rate at which they take about ``seconds``.

    The server is Python's own ``http.server``, on every address of its node.

    Raises:
        MachineError: curl is not there.
        NodeError: the server does not listen.
    """
    await check_program(ends.client, "curl", "curl")
    made = await ends.server.exec(["sh", "-c", _MAKE, "sh", str(octets)])
    digest = made.stdout.split()[0].decode()
    serve = [*ends.runtime.python, "-u", "-m", "http.server", "--bind", "::", "--directory", _WEB, str(port)]
    get = [
        *("--limit-rate", str(max(1, round(octets / seconds)))),
        *(["--interface", ends.source] if ends.source is not None else []),
        *("--write-out", _STATS, f"http://[{ends.address}]:{port}/large"),
    ]

    def judge(ended: Ended) -> Finding:
        return _judge(ended, octets, digest)

    try:
        async with (
            listening(ends, "the web server", serve, "Serving HTTP"),
            client(ends, _NAME, ["bash", "-c", _GET, "curl", *get], judge) as application,
        ):
            yield application
    finally:
        await ends.server.exec(["rm", "-rf", _WEB], check=False)


def _judge(ended: Ended, octets: int, digest: str) -> Finding:
    words = ended.said.split()
    got = int(words[-3]) if ended.status == 0 and len(words) >= 3 else 0
    arrived = ended.output.split()[0].decode() if ended.output else ""
    passed = ended.status == 0 and got == octets and arrived == digest
    return Finding(
        name=_NAME,
        expected=f"{octets} octets with the digest that they had, in one connection",
        measured=(
            f"{got} octets, {'identical' if arrived == digest else 'not identical'}"
            + ("" if ended.status == 0 else f"; curl ended with status {ended.status}: {ended.said}")
        ),
        passed=passed,
        figures={"octets": got, "seconds": (ended.end_ns - ended.start_ns) / 1e9},
        start_ns=ended.start_ns,
        end_ns=ended.end_ns,
    )
