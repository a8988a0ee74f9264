"""Starts dockerd by hand where no service manager runs, detached, and returns once it is ready.

``python3 setup/dockerd.py [SECONDS]``, as root. Standard library only: it runs before anything is set up.
Readiness is dockerd's own word (sd_notify, ``READY=1``), so nothing is polled.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

LOG = Path("/var/log/dockerd.log")
PID_FILE = Path("/var/run/docker.pid")
RUN = Path("/var/run/docker")
CONTAINERD_DEADLINE = 5.0
"""Seconds that a containerd has to end after its dockerd."""
DEADLINE = 120.0
"""Seconds that dockerd has to become ready; a first start on a slow disk takes a few."""


def remove_stale_pid_file(pid_file: Path) -> None:
    """Remove a pid file whose number belongs to no dockerd any more; dockerd would refuse to start."""
    try:
        name, _, fields = Path(f"/proc/{int(pid_file.read_text())}/stat").read_text().rpartition(")")
        alive = name.endswith("(dockerd") and fields.split()[0] != "Z"
    except (OSError, ValueError):
        alive = False
    if not alive:
        pid_file.unlink(missing_ok=True)


def outlive_containerd(pid_file: Path) -> None:
    """Wait for the end of the containerd of a dockerd that was killed, and forget it.

    The kernel kills it with its dockerd (PR_SET_PDEATHSIG). A new dockerd that comes before its end, or that
    sees its zombie, takes it for alive, waits for its socket and gives up.
    """
    try:
        pid = int(pid_file.read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() == "containerd":
            ended = os.pidfd_open(pid)
            gone = bool(select.select([ended], [], [], CONTAINERD_DEADLINE)[0])
            os.close(ended)
        else:
            gone = True
    except (OSError, ValueError):
        gone = True
    if gone:
        pid_file.unlink(missing_ok=True)


def start(
    deadline: float,
    command: Sequence[str] = ("dockerd",),
    *,
    log: Path = LOG,
    pid_file: Path = PID_FILE,
    run: Path = RUN,
) -> None:
    """Start dockerd in a session of its own and wait until it is ready.

    Args:
        deadline: seconds that it has.
        command: what starts it, and in the end is it.
        log: the file that its output is added to.
        pid_file, run: its ``--pidfile`` and ``--exec-root``, as the command has them.

    Raises:
        SystemExit: it ended, or was not ready within ``deadline`` seconds; the text holds its last words.
    """
    remove_stale_pid_file(pid_file)
    outlive_containerd(run / "containerd" / "containerd.pid")
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(f"{folder}/notify")
        with log.open("ab") as output:
            begun = output.tell()
            daemon = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                env=os.environ | {"NOTIFY_SOCKET": f"{folder}/notify"},
            )
        problem = _wait_ready(daemon, notify, time.monotonic() + deadline)
    if problem is not None:
        said = log.read_bytes()[begun:].decode(errors="replace").splitlines()
        sys.exit("\n".join([f"engine: dockerd {problem}; the last lines of {log}:", *said[-15:]]))


def _wait_ready(daemon: subprocess.Popen[bytes], notify: socket.socket, until: float) -> str | None:
    """Wait for the word of ``daemon``; what went wrong, or None."""
    ended = os.pidfd_open(daemon.pid)
    try:
        while True:
            left = max(0.0, until - time.monotonic())
            readable, _, _ = select.select([notify.fileno(), ended], [], [], left)
            if notify.fileno() in readable and b"READY=1" in notify.recv(4096).split(b"\n"):
                return None
            if ended in readable:
                return f"ended with status {daemon.wait()}"
            if not readable:
                daemon.terminate()
                return "was not ready in time"
    finally:
        os.close(ended)


if __name__ == "__main__":
    start(float(sys.argv[1]) if len(sys.argv) > 1 else DEADLINE)
