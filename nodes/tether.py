"""Runs a command in a container and ends it when whoever asked for it is gone.

``docker exec`` leaves its process running when the client dies, and nothing on the process's streams tells
it: the end of standard input may as well be the end of a file that was piped in, and a terminal does not
hang up. So the client holds the writing end of a FIFO in the node's run directory, which the kernel closes
with it; here a guard holds the reading end.

``python -m nodes.tether COMMAND...`` with the FIFO's name in HOPBED_LEASH *becomes* COMMAND, so that process
id, terminal, signals and exit status are as without it. The guard is a process of its own, an orphan from the
beginning. When the leash breaks it ends the command's session and every process that inherited HOPBED_LEASH.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

LEASH = "HOPBED_LEASH"
"""The environment variable with the name of the FIFO; also the mark of the processes on this leash."""
RUN_DIR = Path("/run/hopbed")
PATIENCE = 1.0
"""Seconds from SIGTERM to SIGKILL."""
_TRIES = 50
_PROC = Path("/proc")


def main() -> None:
    """Set the guard and become the command."""
    name = os.environ[LEASH]
    fifo = RUN_DIR / name
    leash = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fifo.unlink()
    if _is_broken(leash):
        sys.exit(1)
    _set_guard(name, leash)
    argv = sys.argv[1:]
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127 if error.errno == errno.ENOENT else 126)  # as a shell does


def _is_broken(leash: int) -> bool:
    """Whether nobody holds the writing end, as when the client died before we got here."""
    try:
        return os.read(leash, 1) == b""
    except BlockingIOError:
        return False


def _set_guard(name: str, leash: int) -> None:
    """Fork the guard, as nobody's child: the command must not meet a child that it does not know."""
    command = os.getpid()
    ended = os.pidfd_open(command)
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    if os.fork():
        os._exit(0)
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        _guard(name, command, leash, ended)
    finally:
        os._exit(0)


def _guard(name: str, command: int, leash: int, ended: int) -> None:
    poll = select.poll()
    poll.register(leash, 0)  # the hang-up is always reported
    poll.register(ended, select.POLLIN)
    ready = {fd for fd, _ in poll.poll()}
    if ended not in ready:
        end(name, session=command)


def end(name: str, session: int) -> None:
    """End every process on the leash ``name`` or of ``session``: politely, then for certain."""
    _signal(list(on_leash(name, session)), signal.SIGTERM, PATIENCE)
    for _ in range(_TRIES):  # what forks while it is being killed is found the next time
        found = list(on_leash(name, session))
        if not found:
            return
        _signal(found, signal.SIGKILL, PATIENCE)


def on_leash(name: str, session: int) -> Iterator[int]:
    """The processes that inherited the leash ``name`` or belong to ``session``, without this one."""
    mark = f"{LEASH}={name}".encode()
    for folder in _PROC.iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            state, its_session = session_of((folder / "stat").read_text())
            if state == "Z":
                continue
            if its_session == session or mark in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended, or changed its user within another session


def session_of(stat: str) -> tuple[str, int]:
    """The state and the session id in the text of ``/proc/PID/stat``; the name in it may hold anything."""
    fields = stat[stat.rindex(")") + 2 :].split()
    return fields[0], int(fields[3])


def _signal(pids: list[int], number: signal.Signals, patience: float) -> None:
    """Send a signal, and wait until all have ended or ``patience`` seconds are over."""
    poll = select.poll()
    waiting = {}
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        waiting[fd] = pid
        poll.register(fd, select.POLLIN)
        try:
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            continue
    while waiting:
        ended = poll.poll(patience * 1000)
        for fd, _ in ended:
            poll.unregister(fd)
            os.close(fd)
            del waiting[fd]
        if not ended:
            break
    for fd in waiting:
        os.close(fd)


if __name__ == "__main__":
    main()
