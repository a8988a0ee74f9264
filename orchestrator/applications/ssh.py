"""ssh, unmodified: a session through which lines go there and back, and whether every line arrived.

The server is an sshd of our own: its keys, its settings and what it needs to run are in the node's private
folder, and nothing of the machine's is read or changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc

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

PORT = 2222
_NAME = "ssh"
_FOLDER = f"{FOLDER}/ssh"
_SSHD = "/usr/sbin/sshd"
_NEW_KEY = (
    f"umask 077; mkdir -p {_FOLDER} && rm -f {_FOLDER}/key* && "
    f"ssh-keygen -q -t ed25519 -N '' -C hopbed -f {_FOLDER}/key && cat {_FOLDER}/key.pub"
)
# sshd separates privileges in a folder below /run, which is the node's own; and without PAM it refuses a user
# whose password is locked, which the machine's root often is: the node gets a table of its own.
_PREPARE = f"""
mkdir -p /run/sshd && chmod 755 /run/sshd && cat >{_FOLDER}/authorized && chmod 600 {_FOLDER}/authorized
if grep -q '^root:!' /etc/shadow; then
    sed 's/^root:[^:]*:/root:*:/' /etc/shadow >{_FOLDER}/shadow
    mount --bind {_FOLDER}/shadow /etc/shadow
fi
"""


@asynccontextmanager
async def running(ends: Ends, *, interval: float = 0.02, port: int = PORT) -> AsyncIterator[Application]:
    """A session within the context: a line each ``interval`` s until told to end, and each comes back.

    Raises:
        MachineError: ssh or sshd is not there.
        NodeError: the server does not listen.
    """
    await check_program(ends.client, "ssh", "openssh-client")
    await check_program(ends.server, _SSHD, "openssh-server")
    await ends.server.exec(["sh", "-c", _NEW_KEY])
    public = (await ends.client.exec(["sh", "-c", _NEW_KEY])).stdout
    host_key = (await ends.server.exec(["cat", f"{_FOLDER}/key.pub"])).stdout.split()
    await ends.server.exec(["sh", "-c", _PREPARE], stdin=public)
    known = f"[{ends.address}]:{port} {host_key[0].decode()} {host_key[1].decode()}\n".encode()
    await ends.client.exec(["sh", "-c", f"cat >{_FOLDER}/known"], stdin=known)
    count = 0

    async def feed(stream: anyio.abc.ByteSendStream, application: Application) -> None:
        nonlocal count
        start = anyio.current_time()
        while not application.told.is_set():
            await stream.send(_line(count))
            count += 1
            with anyio.CancelScope(deadline=start + count * interval):
                await application.told.wait()

    def judge(ended: Ended) -> Finding:
        return _judge(ended, count)

    async with (
        listening(ends, "sshd", _server(port), "Server listening"),
        client(ends, _NAME, _client(ends, port), judge, sign=_line(0), feed=feed) as application,
    ):
        yield application


def _server(port: int) -> list[str]:
    options = {
        "Port": str(port),
        "ListenAddress": "::",
        "HostKey": f"{_FOLDER}/key",
        "AuthorizedKeysFile": f"{_FOLDER}/authorized",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "PidFile": "none",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [_SSHD, "-D", "-e", "-f", "/dev/null", *words]


def _client(ends: Ends, port: int) -> list[str]:
    options = {
        "BatchMode": "yes",
        "IdentityFile": f"{_FOLDER}/key",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": f"{_FOLDER}/known",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "10",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    source = ["-b", ends.source] if ends.source is not None else []
    return ["ssh", "-F", "none", *source, *words, "-p", str(port), f"root@{ends.address}", "cat"]


def _line(number: int) -> bytes:
    return f"line {number}\n".encode()


def _judge(ended: Ended, count: int) -> Finding:
    lines = ended.output.splitlines(keepends=True)
    in_order = sum(line == _line(number) for number, line in enumerate(lines))
    passed = ended.status == 0 and in_order == len(lines) == count > 0
    return Finding(
        name=_NAME,
        expected=f"each of {count} lines there and back, in order",
        measured=f"{in_order} of {count} lines"
        + ("" if ended.status == 0 else f"; ssh ended with status {ended.status}: {ended.said}"),
        passed=passed,
        figures={"lines": in_order},
        start_ns=ended.start_ns,
        end_ns=ended.end_ns,
    )
