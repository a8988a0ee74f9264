"""The base of the node image: a Debian image that can be pulled, or one made here with mmdebstrap."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from nodes import errors

MADE = "hopbed-base"
"""The repository of bases made here; the tag is the release."""

Say = Callable[[str], None]

_SLIM = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/doc/*")


def base_image(client: docker.DockerClient, release: str, say: Say, *, fresh: bool = False) -> str:
    """The name of a base image for ``release`` that the engine has after this call.

    One that the engine has already is taken, unless ``fresh``. Else Debian's own image is pulled; where
    that fails, for whatever reason, a base is made here from Debian's packages.

    Raises:
        MachineError: it could neither be pulled nor made; the text says why and what to install.
    """
    pulled, made = f"debian:{release}-slim", f"{MADE}:{release}"
    if not fresh:
        for name in (pulled, made):
            if _has(client, name):
                return name
    say(f"pulling {pulled}")
    try:
        client.api.pull("debian", tag=f"{release}-slim")
        client.images.get(pulled)
    except DockerException as error:
        reason = error.explanation if isinstance(error, APIError) and error.explanation else error
        say(f"{pulled} cannot be pulled ({reason}); making {made} with mmdebstrap")
        _make(client, release, str(reason))
        return made
    return pulled


def _has(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _make(client: docker.DockerClient, release: str, why: str) -> None:
    if shutil.which("mmdebstrap") is None:
        raise errors.MachineError(
            f"no base for the node image: debian:{release}-slim cannot be pulled ({why}), and mmdebstrap, "
            "which would make one, is not installed: run `sudo apt-get install mmdebstrap uidmap`"
        )
    with tempfile.TemporaryDirectory(prefix="hopbed-base-") as folder:
        archive = Path(folder, "base.tar")
        _run(
            "mmdebstrap",
            "--variant=minbase",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _SLIM),
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            release,
            str(archive),
        )
        client.api.import_image_from_file(
            str(archive), repository=MADE, tag=release, changes=['CMD ["bash"]']
        )


def _run(*command: str) -> None:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        output, _ = process.communicate()
    except BaseException:  # told to end: so is mmdebstrap, which then removes what it made
        process.terminate()
        process.wait()
        raise
    if process.returncode != 0:
        last = "\n".join(output.decode(errors="replace").splitlines()[-10:])
        raise errors.MachineError(f"no base for the node image: {' '.join(command[:1])} failed:\n{last}")
