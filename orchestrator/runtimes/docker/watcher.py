"""Removes a run when its owner dies, whatever it dies of.

The watcher is a process in a session of its own whose standard input is a pipe from the owner. The end of the
pipe without a word before it is the owner's death: the kernel closes pipes. It stands before the first
resource of the run, and sleeps: what it needs for the removal it imports when it comes to that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nodes import errors

if TYPE_CHECKING:
    from orchestrator.runtimes.docker.removal import Traces

QUIET = 1.5
"""Seconds to look out for creations that were under way in the engine when the owner died."""
_WATCHING = b"watching\n"
_DISMISSED = b"dismissed\n"
_SOURCES = Path(__file__).resolve().parents[3]
_DISMISSAL_TIMEOUT = 5.0


class Watcher:
    """The owner's hold on its watcher."""

    def __init__(self, traces: Traces) -> None:
        path = os.pathsep.join(filter(None, [str(_SOURCES), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.runtimes.docker.watcher", traces.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,
        )

    def wait_ready(self) -> None:
        """Wait until it watches.

        Raises:
            MachineError: it does not.
        """
        assert self._process.stdout is not None
        with self._process.stdout as said:
            if said.readline() != _WATCHING:
                raise errors.MachineError("the watcher, which would clean up after a crash, did not start")

    def dismiss(self) -> None:
        """Tell it that all is well, and wait for its end."""
        assert self._process.stdin is not None
        try:
            with self._process.stdin as pipe:
                pipe.write(_DISMISSED)
        except BrokenPipeError:
            pass  # somebody ended it
        try:
            self._process.wait(_DISMISSAL_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Watch, and remove if it comes to that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.write(1, _WATCHING)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    if sys.stdin.buffer.read() == _DISMISSED:
        return

    from orchestrator.runtimes.docker.engine import Engine
    from orchestrator.runtimes.docker.removal import Traces, remove
    from orchestrator.runtimes.docker.run_folder import RunFolder

    traces = Traces.from_json(sys.argv[1])
    if not RunFolder(traces.run_dir).is_detached:
        remove(Engine(), traces, quiet=QUIET)


if __name__ == "__main__":
    main()
