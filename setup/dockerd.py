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
from pathlib import Path

LOG = Path("/var/log/dockerd.log")
PID_FILE = Path("/var/run/docker.pid")
DEADLINE = 120.0
"""Seconds that dockerd has to become ready; a first start on a slow disk takes a few."""


def remove_stale_pid_file() -> None:
    """Remove a pid file whose number belongs to no dockerd any more; dockerd would refuse to start."""
    try:
        pid = int(PID_FILE.read_text())
        alive = Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd"
    except (OSError, ValueError):
        alive = False
    if not alive:
        PID_FILE.unlink(missing_ok=True)


def start(deadline: float) -> None:
    """Start dockerd in a session of its own and wait until it is ready.

    Raises:
        SystemExit: it ended, or was not ready within ``deadline`` seconds; the text holds its last words.
    """
    remove_stale_pid_file()
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(f"{folder}/notify")
        with LOG.open("ab") as log:
            begun = log.tell()
            daemon = subprocess.Popen(
                ["dockerd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                env=os.environ | {"NOTIFY_SOCKET": f"{folder}/notify"},
            )
        problem = _wait_ready(daemon, notify, time.monotonic() + deadline)
    if problem is not None:
        said = LOG.read_bytes()[begun:].decode(errors="replace").splitlines()
        sys.exit("\n".join([f"engine: dockerd {problem}; the last lines of {LOG}:", *said[-15:]]))


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
