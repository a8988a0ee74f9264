"""What the integration tests share: the runtimes, and the look that nothing is left behind."""

import os

import anyio
import pytest

from orchestrator.image import build, connect
from orchestrator.runtimes.docker.listening import engine_answers


@pytest.fixture(scope="session")
def node_image():
    """The node image as the sources are now. Without an engine, Docker's tests are skipped; never in CI."""
    if not anyio.run(engine_answers):
        if os.environ.get("CI"):
            pytest.fail("no Docker Engine answers; CI skips no test")
        pytest.skip("no Docker Engine answers: make engine")
    client = connect()
    yield build(client, "bookworm", print)
    client.close()


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("docker"):
            item.fixturenames = ["node_image", *item.fixturenames]


@pytest.fixture(params=["namespaces", pytest.param("docker", marks=pytest.mark.docker)])
def runtime(request):
    """Each runtime in turn."""
    return request.param


@pytest.fixture
def hopbed_runtime(runtime):
    """Hopbed's own fixtures run in each runtime in turn."""
    return runtime
