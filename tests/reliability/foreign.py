"""What belongs to somebody else on the machine, and must be as it was after any number of runs."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from machine import docker_lines

from orchestrator.topology.plan import DEFAULT_IMAGE


def _do(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@contextmanager
def foreign_things(*, docker: bool) -> Iterator[dict[str, tuple[str, ...]]]:
    """A namespace with a bridge and an nft table in it; with Docker a network and a container besides.

    Yields:
        What tells of each of them, as a command that must go on to say the same.
    """
    name = f"elses-{secrets.token_hex(3)}"
    with ExitStack() as stack:
        _do("ip", "netns", "add", name)
        stack.callback(_do, "ip", "netns", "del", name)
        inside = ("ip", "netns", "exec", name)
        _do(*inside, "ip", "link", "add", "bridge", "type", "bridge")
        _do(*inside, "nft", "add table ip6 hopbed; add set ip6 hopbed s { type ipv6_addr; }; "
            "add element ip6 hopbed s { fd00::1 }")  # fmt: skip
        told = {
            "namespace": (*inside, "ip", "-oneline", "link"),
            "nft table": (*inside, "nft", "list", "ruleset"),
        }
        if docker:
            _do("docker", "network", "create", "--internal", "--label", "io.somebody=1", name)
            stack.callback(_do, "docker", "network", "rm", name)
            _do("docker", "run", "--detach", "--name", name, "--network", name, "--entrypoint", "sleep",
                DEFAULT_IMAGE, "infinity")  # fmt: skip
            stack.callback(_do, "docker", "rm", "--force", name)
            told["container"] = (
                "docker",
                "inspect",
                "--format",
                "{{.Id}} {{.State.Pid}} {{.State.Status}}",
                name,
            )
            told["network"] = (
                "docker",
                "network",
                "inspect",
                "--format",
                "{{.Id}} {{json .Containers}}",
                name,
            )
        yield told


def say(told: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """What is told of each thing now."""
    return {name: _do(*argv) for name, argv in told.items()}


def of_ours_in_docker() -> set[str]:
    """The containers and networks on the engine that bear our label."""
    label = "label=io.hopbed.run"
    containers = docker_lines("ps", "-a", "--format", "{{.Names}}", "--filter", label)
    return containers | docker_lines("network", "ls", "--format", "{{.Name}}", "--filter", label)
