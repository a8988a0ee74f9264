"""When Docker's SDK is imported: only where there is an engine to talk to, and whole, in one thread.

Two threads that import parts of one package may wait for each other; Python ends one of them with an error.
"""

import subprocess
import sys

import pytest

NO_ENGINE = "unix:///nonexistent/docker.sock"
IN_THREADS = """
import sys, threading
import anyio
from orchestrator.doctor import docker_probes

class Recorder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            print(name.partition(".")[0])

async def look():
    async with anyio.create_task_group() as tasks:
        for probe in (docker_probes.engine, docker_probes.ipv6, docker_probes.cli, docker_probes.image):
            tasks.start_soon(probe)

sys.meta_path.insert(0, Recorder)
anyio.run(look)
"""
CHOICE = """
import sys
import anyio
from orchestrator.runtimes.choose import choose

anyio.run(choose, "auto")
print(*{name.partition(".")[0] for name in sys.modules}, sep="\\n")
"""


@pytest.fixture
def packages(monkeypatch):
    """The packages that a program names, where no engine answers."""
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)

    def run(program):
        return set(subprocess.check_output([sys.executable, "-c", program], text=True).split())

    return run


def test_the_doctors_threads_find_it_imported(packages):
    assert not packages(IN_THREADS) & {"docker", "requests", "urllib3", "orchestrator"}


def test_a_machine_without_an_engine_does_not_wait_for_it(packages):
    found = packages(CHOICE)
    assert "orchestrator" in found
    assert not found & {"docker", "requests", "urllib3"}
