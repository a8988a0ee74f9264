"""The wheels of the node image, downloaded on the host, for the image's Python and not for the host's."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nodes import errors
from orchestrator.image.content import LOCK, RELEASES, ROOT, Source

FOLDER = "images/build"
"""Where the wheels lie, in a folder a release; nothing in it is kept in the repository."""

_KEY = ".key"
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""What every release in RELEASES can load (glibc 2.36 and newer); PEP 600."""


def wheel_key(lock: bytes, release: str, architecture: str) -> str:
    """What the wheels of a release depend on, as one word."""
    return hashlib.sha256(b"\0".join([lock, release.encode(), architecture.encode()])).hexdigest()


def download_command(lock: Path, folder: Path, release: str, architecture: str) -> list[str]:
    """pip's command line that downloads the wheels of ``lock``; ``architecture`` is in the engine's words."""
    machine = _MACHINES.get(architecture, architecture)
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["download", "--only-binary=:all:", "--no-deps", "--require-hashes"]
    command += ["--implementation", "cp", "--python-version", RELEASES[release]]
    for platform in _PLATFORMS:
        command += ["--platform", f"{platform}_{machine}"]
    return [*command, "--dest", str(folder), "--requirement", str(lock)]


def wheels(release: str, architecture: str, root: Path = ROOT) -> Sequence[Source]:
    """The wheels for ``release``, downloaded if those at hand are not of this lock.

    Raises:
        MachineError: they could not be downloaded, or not be kept; the text says why.
    """
    lock = root / LOCK
    key = wheel_key(lock.read_bytes(), release, architecture)
    folder = root / FOLDER / release
    try:
        with _locked(root / FOLDER):
            if not _is_current(folder, key):
                _download(lock, folder, release, architecture)
                (folder / _KEY).write_text(key)
            files = sorted(folder.glob("*.whl"))
            return [Source(f"{FOLDER}/{release}/{file.name}", file.read_bytes()) for file in files]
    except PermissionError as error:
        raise errors.MachineError(f"{error}: another user made it; remove {root / FOLDER}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_current(folder: Path, key: str) -> bool:
    try:
        return (folder / _KEY).read_text() == key
    except FileNotFoundError:
        return False


def _download(lock: Path, folder: Path, release: str, architecture: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as fresh:
        done = subprocess.run(
            download_command(lock, Path(fresh), release, architecture),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise errors.MachineError(f"the wheels of {LOCK} could not be downloaded:\n{done.stderr.strip()}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for wheel in Path(fresh).iterdir():
            wheel.rename(folder / wheel.name)
