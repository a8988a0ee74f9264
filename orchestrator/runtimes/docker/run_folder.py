"""A run's directory on the host: one folder a place, which the place sees as its run directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

from nodes import errors
from nodes.agent import LOG_DIR, RUN_DIR
from orchestrator.runtimes.base import BRIDGE
from orchestrator.runtimes.docker.owner import Owner
from orchestrator.topology.plan import RunPlan

SOCKET_PATH_LIMIT = 107
"""The longest path of a Unix socket in octets, without the final NUL (unix(7))."""
_LONGEST_SOCKET = "control.sock"
OWNER_FILE = ".owner"
"""The file with the name of who made the directory, and a line with the engine's address."""
_DETACHED = ".detached"


def parents() -> list[Path]:
    """Where run directories may stand, the best place first: folders of this user alone."""
    uid = os.getuid()
    runtime_dirs = [os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"]
    found = []
    for name in filter(None, runtime_dirs):
        with contextlib.suppress(OSError):
            if _is_private(Path(name)):
                found.append(Path(name, "hopbed"))
    return [*found, Path(f"/tmp/hopbed-{uid}")]


def _is_private(folder: Path) -> bool:
    """Whether only this user may write there.

    Raises:
        OSError: it is not there.
    """
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022


class RunFolder:
    """The directory of one run.

    Attributes:
        path: the directory itself; it holds a folder for each place, called like the place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, plan: RunPlan) -> RunFolder:
        """Where the directory of ``plan`` stands; it is not made yet.

        Raises:
            UsageError: a node's name is too long for the path of its control socket.
        """
        longest = max((node.name for node in plan.nodes), key=len, default="")
        for parent in parents():
            if len(os.fsencode(parent / plan.run_id / longest / _LONGEST_SOCKET)) <= SOCKET_PATH_LIMIT:
                return cls(parent / plan.run_id)
        raise errors.UsageError(f"{longest}: the name is too long for the path of a Unix socket; shorten it")

    def make(self, plan: RunPlan, owner: Owner, host: str) -> None:
        """Make the directory of a run in the engine at ``host``, with a folder for each place and for logs.

        Everything that a container has mounted is made here, by the user, so that the user can remove it.

        Raises:
            MachineError: it cannot be made; the text says why.
        """
        try:
            self._make_itself()
            (self.path / OWNER_FILE).write_text(f"{owner}\n{host}\n")
            for place in places(plan):
                (self.place(place) / LOG_DIR.relative_to(RUN_DIR)).mkdir(mode=0o700, parents=True)
                self.log(plan, place).mkdir(exist_ok=True)
        except OSError as error:
            raise errors.MachineError(f"no run directory: {error}") from error

    def _make_itself(self) -> None:
        """Make the directory in its parent, which a run that ends may remove at the same time."""
        parent = self.path.parent
        while True:
            with contextlib.suppress(FileExistsError):
                parent.mkdir(mode=0o700)
            with contextlib.suppress(FileNotFoundError):
                if not _is_private(parent):
                    raise errors.MachineError(f"{parent} is open to others: remove it")
                self.path.mkdir(mode=0o700)
                return

    def remove(self) -> bool:
        """Remove the directory as far as this user can; whether it is gone.

        The owner's name goes last, so that what could not be removed is still known to be of a run.
        """
        with contextlib.suppress(OSError):  # another process may be removing it too
            for entry in list(self.path.iterdir()):
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                elif entry.name != OWNER_FILE:
                    entry.unlink(missing_ok=True)
            if [entry.name for entry in self.path.iterdir()] == [OWNER_FILE]:
                shutil.rmtree(self.path)
            self.path.parent.rmdir()  # unless other runs have theirs in it
        return not self.path.exists()

    def place(self, place: str) -> Path:
        """The run directory of a node, or of the bridge's place."""
        return self.path / place

    def log(self, plan: RunPlan, place: str) -> Path:
        """The log folder of a place: the evidence's, or one that goes with the run."""
        if plan.log_dir is not None:
            return plan.log_dir / place
        return self.place(place) / LOG_DIR.relative_to(RUN_DIR)

    @property
    def owner(self) -> Owner | None:
        """Who made the directory; None where it does not say so (any more)."""
        try:
            return Owner.parse(self._made_by()[0])
        except (OSError, ValueError, IndexError):
            return None

    def is_of(self, host: str) -> bool:
        """Whether the run is the engine's at ``host``; so is one whose own engine is not there any more."""
        try:
            own = self._made_by()[1]
        except (OSError, IndexError):
            return False
        return own == host or not Path(own.removeprefix("unix://")).exists()

    def _made_by(self) -> list[str]:
        return (self.path / OWNER_FILE).read_text().splitlines()

    @property
    def is_detached(self) -> bool:
        """Whether the run may outlive its owner. It is a file, for labels cannot change."""
        return (self.path / _DETACHED).exists()

    def mark_detached(self) -> None:
        """From now on the run outlives its owner."""
        (self.path / _DETACHED).touch()


def places(plan: RunPlan) -> list[str]:
    """Every place of a run: its nodes, and the bridge."""
    return [*(node.name for node in plan.nodes), BRIDGE]


def all_run_folders() -> list[RunFolder]:
    """The run directories of this user."""
    folders = [RunFolder(path.parent) for parent in parents() for path in parent.glob(f"*/{OWNER_FILE}")]
    return [folder for folder in folders if folder.path.lstat().st_uid == os.getuid()]
