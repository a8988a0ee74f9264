"""What this machine has for the docker runtime; each question is answered by trying."""

from __future__ import annotations

import ipaddress
import secrets
import shutil
import socket
from pathlib import Path

from docker.errors import APIError
from requests.exceptions import ConnectionError as RequestsConnectionError

from nodes import errors
from orchestrator import image
from orchestrator.runtimes.docker import labels, spec
from orchestrator.runtimes.docker.engine import Engine, explain, unreachable
from orchestrator.runtimes.docker.owner import Owner


def engine_version(engine: Engine) -> str:
    """The engine's version.

    Raises:
        MachineError: no engine answers, or this user may not use it.
    """
    with engine.client() as client:
        return str(client.version()["Version"])


def require_command() -> str:
    """The path of Docker's command line client, by which commands run in nodes.

    Raises:
        MachineError: there is none.
    """
    found = shutil.which("docker")
    if found is None:
        raise errors.MachineError("no `docker` command: run `make engine`")
    return found


def require_image(name: str) -> str:
    """The name to run an image by, which the engine has; if it is ours, built from the sources as they are.

    Raises:
        MachineError: it has not, or no engine answers (any more).
    """
    client = image.connect()
    try:
        return image.require(client, name)
    except RequestsConnectionError as error:
        raise unreachable(error) from error
    finally:
        client.close()


def require_device(path: str) -> None:
    """Check that a device is there.

    Raises:
        MachineError: it is not.
    """
    if not Path(path).exists():
        load = f": run `sudo modprobe {Path(path).name}`" if path == "/dev/net/tun" else ""
        raise errors.MachineError(f"no device {path}{load}")


def require_ipv6_network(engine: Engine) -> None:
    """Check that the engine can make a network with IPv6, by making one; it is removed at once.

    Raises:
        MachineError: it cannot.
    """
    if not socket.has_ipv6 or not Path("/proc/sys/net/ipv6").exists():
        raise errors.MachineError("the kernel has no IPv6: boot without ipv6.disable=1")
    run_id = secrets.token_hex(4)
    site = ipaddress.IPv6Network(((0xFD << 120) | (secrets.randbits(40) << 80), 64))
    own = labels.of_run(run_id, Owner.this_process(), Path("/nonexistent"))
    wanted = spec.ipv6_network(f"hopbed-{run_id}", {"Subnet": str(site)}, own)
    with engine.client() as client:
        try:
            network = client.create_network(**wanted)
            client.remove_network(network["Id"])
        except APIError as error:
            raise errors.MachineError(f"the engine makes no IPv6 network: {explain(error)}") from error
