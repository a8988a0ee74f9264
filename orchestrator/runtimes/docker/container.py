"""What is asked of the engine for one network or one container, in a thread, and what its refusals mean."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import APIError, ImageNotFound
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import Timeout

from nodes import errors
from orchestrator.runtimes.docker import spec
from orchestrator.runtimes.docker.engine import create_container, explain
from orchestrator.runtimes.docker.owner import Owner
from orchestrator.runtimes.docker.run_folder import RunFolder
from orchestrator.topology.plan import RunPlan

GRACE = 3
"""Seconds from SIGTERM to SIGKILL for a node that is taken down."""
_WAIT = 5
"""Seconds for a container to end after its output did."""
_OPTIMISTIC_DAD = Path("/proc/sys/net/ipv6/conf/all/optimistic_dad")


def platform(client: APIClient) -> spec.Platform:
    """What the engine and the kernel can do."""
    major, minor = client.api_version.split(".")
    return spec.Platform((int(major), int(minor)), _OPTIMISTIC_DAD.exists())


def create_network(client: APIClient, plan: RunPlan, owner: Owner, folder: RunFolder) -> str:
    """Make the run's network; returns its id.

    Raises:
        MachineError: the engine refused; the text says why.
    """
    try:
        network: dict[str, Any] = client.create_network(**spec.network_of(plan, owner, folder))
    except APIError as error:
        raise errors.MachineError(f"the network {plan.network}: {_why_no_network(explain(error))}") from error
    return str(network["Id"])


def _why_no_network(words: str) -> str:
    if "overlaps" in words:
        return f"another network of Docker's has these addresses: `docker network ls` ({words})"
    if "non-overlapping" in words:
        return f"Docker has no IPv4 range left for it: `docker network prune` removes unused ones ({words})"
    return words


def create_attached(client: APIClient, config: Mapping[str, Any], name: str) -> tuple[str, int]:
    """Create a container and take hold of its output before it says anything.

    Returns:
        Its id, and a file descriptor of the caller's, which does not block.

    Raises:
        MachineError: there is no such image.
        NodeError: the engine refused.
    """
    id_ = create(client, config, name)
    stream: Any = client.attach_socket(id_, {"stream": 1, "stdout": 1, "stderr": 1})
    fd = os.dup(stream.fileno())
    stream._response.close()  # what the SDK keeps the stream in; ours is independent of it
    os.set_blocking(fd, False)
    return id_, fd


def create(client: APIClient, config: Mapping[str, Any], name: str) -> str:
    """Create a container; returns its id.

    Raises:
        MachineError: there is no such image.
        NodeError: the engine refused.
    """
    try:
        return create_container(client, config, name)
    except ImageNotFound as error:
        raise errors.MachineError(f"no image {config['Image']}: run `make image`") from error
    except APIError as error:
        raise errors.NodeError(f"{name}: {explain(error)}") from error


def start(client: APIClient, id_: str, name: str) -> None:
    """Start a container.

    Raises:
        NodeError: the engine could not.
    """
    try:
        client.start(id_)
    except APIError as error:
        raise errors.NodeError(f"{name}: {explain(error)}") from error


def exit_status(client: APIClient, id_: str) -> int | None:
    """The status that a container ended with; None if it is gone, or if its output ended but it runs on."""
    try:
        return int(client.wait(id_, timeout=_WAIT)["StatusCode"])
    except (APIError, Timeout, RequestsConnectionError):
        return None


def end(client: APIClient, id_: str, log: Path | None) -> None:
    """End a container in an orderly manner, and keep what it said in ``log`` if that is wanted."""
    try:
        client.stop(id_, timeout=GRACE)
        if log is not None:
            said: bytes = client.logs(id_)
            log.write_bytes(said)
    except (APIError, OSError):
        pass  # it is to be removed anyway, and not every logging driver can be read
