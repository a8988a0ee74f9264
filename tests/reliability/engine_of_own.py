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

from orchestrator.topology.plan import DEFAULT_IMAGE
from setup.dockerd import start

_IMAGES = ("hopbed-base:bookworm", DEFAULT_IMAGE)
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
        self._folder = Path(tempfile.mkdtemp(prefix="hopbed-engine-", dir=_DATA))
        self._namespace = self._folder.name
        self.host = f"unix://{self._folder}/docker.sock"
        self.inside = ("nsenter", f"--net=/run/netns/{self._namespace}", "--")
        self.pid = 0

    def __enter__(self) -> Self:
        try:
            _do("ip", "netns", "add", self._namespace)
            _do("ip", "-n", self._namespace, "link", "set", "lo", "up")
            self.start()
            with subprocess.Popen(["docker", "save", *_IMAGES], stdout=subprocess.PIPE) as saved:
                _do("docker", "--host", self.host, "load", "--quiet", stdin=saved.stdout)
            # as these sources want it, whatever the machine's engine has
            _do(sys.executable, "-m", "orchestrator.image", env=os.environ | {"DOCKER_HOST": self.host})
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self) -> None:
        """Start it, also after it was killed; it is ready when this returns.

        Raises:
            SystemExit: it did not become ready.
        """
        pid_file = self._folder / "docker.pid"
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
        with contextlib.suppress(ProcessLookupError):
            ended = os.pidfd_open(self.pid) if self.pid else 0
            if ended:
                signal.pidfd_send_signal(ended, signal.SIGTERM)
                select.select([ended], [], [])
                os.close(ended)
        subprocess.run(["ip", "netns", "del", self._namespace], capture_output=True, check=False)
        # dockerd made it a mount of its own
        subprocess.run(["umount", self._folder / "data"], capture_output=True, check=False)
        shutil.rmtree(self._folder)


def _do(*argv: str, **popen: object) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True, **popen)  # type: ignore[call-overload]
