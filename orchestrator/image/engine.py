"""Finds the Docker Engine of this machine, or says what to do about it."""

from __future__ import annotations

import getpass

import docker
from docker.errors import DockerException

from nodes import errors

TIMEOUT = 600
"""Seconds that a step of a build may stay silent."""


def connect() -> docker.DockerClient:
    """A client of the engine that DOCKER_HOST names, or of the local one.

    Raises:
        MachineError: no engine answers, or this user may not use it; the text says what mends it.
    """
    try:
        return docker.from_env(timeout=TIMEOUT)
    except DockerException as error:
        if "PermissionError" in str(error):
            raise errors.MachineError(
                "this user may not use the Docker Engine: "
                f"run `sudo usermod -aG docker {getpass.getuser()}`, then log in again (or `newgrp docker`)"
            ) from error
        raise errors.MachineError("no Docker Engine answers: run `make engine`") from error
