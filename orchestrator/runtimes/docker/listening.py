"""Where the Docker Engine listens, and whether it answers.

Asked before every run, and so without Docker's SDK, which takes 0.1 s to import.
"""

from __future__ import annotations

import os

import anyio

from nodes import errors

DEFAULT_HOST = "unix:///var/run/docker.sock"
PING_TIMEOUT = 10.0
"""Seconds: of a machine that starts many containers at once the engine is slow, but there."""
_PING = b"GET /_ping HTTP/1.0\r\n\r\n"


def engine_host() -> str:
    """Where the engine listens: DOCKER_HOST, or the local socket.

    Raises:
        MachineError: it is not on this machine; nodes share folders and the clock with the orchestrator.
    """
    host = os.environ.get("DOCKER_HOST") or DEFAULT_HOST
    if not host.startswith("unix://"):
        raise errors.MachineError(
            f"DOCKER_HOST is {host}, but only an engine on this machine will do: unset DOCKER_HOST"
        )
    return host


async def engine_answers() -> bool:
    """Whether an engine on this machine answers this user within 10 s; where none listens, at once not."""
    try:
        path = engine_host().removeprefix("unix://")
    except errors.MachineError:
        return False
    with anyio.move_on_after(PING_TIMEOUT):
        try:
            async with await anyio.connect_unix(path) as stream:
                await stream.send(_PING)
                return b" 200 " in (await stream.receive()).partition(b"\r\n")[0]
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            return False
    return False
