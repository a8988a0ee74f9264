"""What the docker runtime runs inside containers: the guard of a command."""

import os
import secrets
import signal
import subprocess
import sys

import pytest

from nodes import tether


def test_a_process_name_may_hold_what_separates_the_fields():
    assert tether.session_of("7 (a) b (c)) Z 1 7 9 0") == ("Z", 9)


@pytest.fixture
def leash():
    return f".leash-{secrets.token_hex(8)}"


@pytest.fixture
def start():
    """Starts a shell script, on a leash or not, and returns once it says that it is there."""
    started = []

    def start(script, leash=None, **options):
        env = os.environ | ({} if leash is None else {tether.LEASH: leash})
        process = subprocess.Popen(
            ["sh", "-c", script],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        started.append(process)
        assert process.stdout.readline() == "there\n"
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_everything_on_a_leash_is_found_in_whatever_session(start, leash):
    process = start("setsid sleep 1000 & sleep 1000 & echo there; wait", leash)
    found = list(tether.on_leash(leash, session=-1))
    tether.end(leash, session=-1)
    assert process.pid in found
    assert len(found) == 3
    assert list(tether.on_leash(leash, session=-1)) == []


def test_a_session_is_found_without_its_leash(start, leash):
    process = start("echo there; sleep 1000")
    assert process.pid in list(tether.on_leash(leash, session=process.pid))
    tether.end(leash, session=process.pid)
    assert process.wait() < 0


def test_what_ignores_a_request_to_end_is_killed(start, leash):
    process = start("trap '' TERM; echo there; while :; do sleep 1000; done", leash)
    tether.end(leash, session=-1)
    assert process.wait() == -signal.SIGKILL


def test_processes_on_another_leash_are_left_alone(start, leash):
    process = start("echo there; sleep 1000", leash + "-other")
    tether.end(leash, session=-1)
    assert process.poll() is None


def test_the_start_of_a_container_imports_little():
    heavy = "import sys, nodes.tether, nodes.container_init; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert not {"msgspec", "anyio", "pyroute2"} & set(done.stdout.split())
