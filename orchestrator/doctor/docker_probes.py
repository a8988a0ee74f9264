"""The probes of the docker runtime."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread

from nodes.errors import HopbedError
from orchestrator.doctor.finding import Finding, Need
from orchestrator.doctor.probes import Probe
from orchestrator.runtimes.docker import probe
from orchestrator.runtimes.docker.engine import Engine
from orchestrator.topology.plan import DEFAULT_IMAGE

_CHECKOUT = Path(__file__).resolve().parents[2]
_ENGINE = _CHECKOUT / "setup" / "engine.sh"


def _docker_probe(
    name: str, purpose: str, mend: str, look: Callable[[], str], fix: tuple[str, ...] = ()
) -> Probe:
    async def run() -> Finding:
        present, detail = True, ""
        try:
            detail = await anyio.to_thread.run_sync(look)
        except HopbedError as error:
            present, detail = False, str(error)
        return Finding(
            name=name,
            purpose=purpose,
            need=Need.DOCKER,
            present=present,
            detail=detail,
            lost="the docker runtime",
            mend=mend,
            fix=(fix,) if fix else (),
        )

    return run


def _engine() -> str:
    return probe.engine_version(Engine())


def _ipv6() -> str:
    probe.require_ipv6_network(Engine())
    return "works"


def _image() -> str:
    probe.require_image(DEFAULT_IMAGE)
    return f"{DEFAULT_IMAGE} is current"


_start = (str(_ENGINE),) if _ENGINE.exists() else ()
engine = _docker_probe("Docker Engine", "the docker runtime", "make engine", _engine, _start)
ipv6 = _docker_probe("IPv6 networks in Docker", "the bridge", "make engine", _ipv6, _start)
cli = _docker_probe(
    "docker command", "running commands in nodes", "make engine", probe.require_command, _start
)
image = _docker_probe(
    "node image", "nodes in Docker", "make image", _image, (sys.executable, "-m", "orchestrator.image")
)
