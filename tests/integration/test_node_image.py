"""The node image on a live engine: it says how it stands, and its entry point does what a node needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from nodes import errors
from orchestrator.image import State, build, connect, require, state
from orchestrator.image.content import CONTENT_LABEL, REPOSITORY, ROOT, content_hash, sources, tag_of_content

pytestmark = pytest.mark.docker

IMAGE = "hopbed-node:bookworm"


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = connect()
    yield client
    client.close()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the image is built from."""
    for folder in ("images", "nodes"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("build", "__pycache__")
        )
    return tmp_path


@pytest.fixture
def plain_host(engine: docker.DockerClient) -> Iterator[Container]:
    container = engine.containers.run(IMAGE, ["host"], detach=True, init=True, network_mode="none")
    while "sleep infinity" not in (row[-1] for row in container.top()["Processes"]):
        pass  # the shell has not come so far: a signal now would find no trap
    yield container
    container.remove(force=True)


def test_image_built_from_these_sources_is_current(engine: docker.DockerClient, checkout: Path):
    assert state(engine, "bookworm", checkout) is State.CURRENT
    name = require(engine, IMAGE, checkout)
    assert name == tag_of_content("bookworm", content_hash(sources(checkout)))
    assert engine.images.get(name).labels[CONTENT_LABEL] == content_hash(sources(checkout))


def build_from(checkout: Path) -> None:
    with closing(connect()) as client:
        build(client, "bookworm", print, root=checkout)


def test_builds_of_several_checkouts_at_once_all_succeed(engine: docker.DockerClient, checkout: Path):
    """One may not remove what another is building upon."""
    others = [checkout.with_name(f"other-{number}") for number in range(3)]
    for other in others:
        shutil.copytree(checkout, other)
        (other / "nodes/agent.py").write_text(f"# {other}\n")
    made = [tag_of_content("bookworm", content_hash(sources(other))) for other in others]
    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(build_from, others))
        assert [state(engine, "bookworm", other) for other in others] == [State.CURRENT] * len(others)
    finally:
        engine.images.get(require(engine, IMAGE)).tag(REPOSITORY, "bookworm")
        for name in made:
            engine.images.remove(name)


def test_image_is_stale_once_a_module_of_the_nodes_changed(engine: docker.DockerClient, checkout: Path):
    with (checkout / "nodes/agent.py").open("a") as module:
        module.write("# changed\n")
    assert state(engine, "bookworm", checkout) is State.STALE
    with pytest.raises(errors.MachineError, match="make image RELEASE=bookworm"):
        require(engine, IMAGE, checkout)


def test_another_image_that_the_engine_lacks_is_a_machine_error_that_names_it(engine: docker.DockerClient):
    with pytest.raises(errors.MachineError, match="no image hopbed-nothing:here"):
        require(engine, "hopbed-nothing:here")


def test_a_plain_host_ends_well_when_it_is_told_to(plain_host: Container):
    plain_host.kill("SIGTERM")
    assert plain_host.wait(timeout=60)["StatusCode"] == 0


def test_a_plain_host_runs_what_it_is_asked_to(plain_host: Container):
    status, output = plain_host.exec_run(["/usr/lib/ipsec/charon", "--version"])
    assert (status, output.strip()) == (0, b"Linux strongSwan 5.9.8")


def test_a_role_that_does_not_exist_is_a_usage_error(engine: docker.DockerClient):
    container = engine.containers.run(IMAGE, ["router"], detach=True, network_mode="none")
    try:
        assert container.wait(timeout=60)["StatusCode"] == errors.UsageError.exit_status
        said = json.loads(container.logs(stdout=True, stderr=False))
        assert (said["kind"], said["data"]["type"]) == ("failed", "UsageError")
    finally:
        container.remove(force=True)
