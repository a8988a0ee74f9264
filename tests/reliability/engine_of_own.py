"""A Docker Engine of our own beside the machine's: killing it harms nobody.

It has its own network namespace, and so its own bridges and its own packet filter; its own socket, data and
state; and the node image, copied from the machine's engine.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from victims import started

from orchestrator.image.content import content_hash, sources, tag_of_content
from setup.dockerd import start

_PREFIX, _OWNER, _PID_FILE = "hopbed-engine-", "owner", "docker.pid"
_DATA = Path("/var/lib")
"""On a file system that overlay2 can stand on, as the machine's own engine does."""


class OwnEngine:
    """The engine; a context, after which nothing of it is left.

    Attributes:
        host: what DOCKER_HOST is to say.
        inside: what a command line begins with that runs in its network.
        pid: of its dockerd.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_DATA))
        (self._folder / _OWNER).write_text(f"{os.getpid()} {started(os.getpid())}")
        self._namespace = self._folder.name
        self.host = f"unix://{self._folder}/docker.sock"
        self.inside = ("nsenter", f"--net=/run/netns/{self._namespace}", "--")
        self.pid = 0

    def __enter__(self) -> Self:
        _remove_orphans()
        try:
            _do("ip", "netns", "add", self._namespace)
            _do("ip", "-n", self._namespace, "link", "set", "lo", "up")
            self.start()
            _do(sys.executable, "-m", "orchestrator.image")
            image = tag_of_content("bookworm", content_hash(sources()))
            with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
                _do("docker", "--host", self.host, "load", "--quiet", stdin=saved.stdout)
            here = os.environ | {"DOCKER_HOST": self.host}
            _do(sys.executable, "-m", "orchestrator.image", "--check", env=here)
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self) -> None:
        """Start it, also after it was killed; it is ready when this returns.

        Raises:
            SystemExit: it did not become ready.
        """
        pid_file = self._folder / _PID_FILE
        at = {"host": "docker.sock", "data-root": "data", "exec-root": "run", "pidfile": pid_file.name}
        options = [f"--{name}={self._folder / file}" for name, file in at.items()]
        options[0] = f"--host={self.host}"
        start(
            120.0,
            [*self.inside, "dockerd", *options, "--bridge=none"],
            log=self._folder / "dockerd.log",
            pid_file=pid_file,
            run=self._folder / "run",
        )
        self.pid = int(pid_file.read_text())

    def __exit__(self, *_: object) -> None:
        _remove(self._folder)


def _remove(folder: Path) -> None:
    """Take an engine away: its dockerd, its network namespace and its folder."""
    with contextlib.suppress(OSError, ValueError):
        ended = os.pidfd_open(int((folder / _PID_FILE).read_text()))
        signal.pidfd_send_signal(ended, signal.SIGTERM)
        select.select([ended], [], [])
        os.close(ended)
    subprocess.run(["ip", "netns", "del", folder.name], capture_output=True, check=False)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
        subprocess.run(["umount", mount], capture_output=True, check=False)
    shutil.rmtree(folder)


def _remove_orphans() -> None:
    """Take away the engines of earlier processes that were killed."""
    for folder in _DATA.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            pid, begun = (folder / _OWNER).read_text().split()
            if started(int(pid)) != begun:
                _remove(folder)


def _do(*argv: str, **popen: object) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True, **popen)  # type: ignore[call-overload]
