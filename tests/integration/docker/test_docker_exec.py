"""A command in a node of the docker runtime: its streams, its status, its end with whoever asked for it."""

import os
import pty
import secrets
import signal
import subprocess
from pathlib import Path

import pytest
from docker_runs import processes, small_plan, until

from orchestrator.runtimes.base import BRIDGE
from orchestrator.runtimes.docker.runtime import DockerRuntime

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
async def runtime(anyio_backend):
    runtime = DockerRuntime()
    await runtime.check(small_plan("host"))
    try:
        await runtime.bring_up(small_plan("host"), lambda event: None)
        yield runtime
    finally:
        await runtime.take_down()


@pytest.fixture
def mark():
    """A number of seconds that no other process sleeps."""
    return str(100_000 + secrets.randbelow(1_000_000_000))


def start(command, **streams):
    return subprocess.Popen(command, **{"stdin": subprocess.DEVNULL, "start_new_session": True} | streams)


def test_input_output_and_status_pass(runtime):
    count = runtime.command("node-0", ["sh", "-c", "wc -c; echo aside >&2; exit 7"])
    done = subprocess.run(count, input=b"x" * 100_000, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"100000\n", b"aside\n")


def test_a_command_that_does_not_exist_is_status_127(runtime):
    done = subprocess.run(runtime.command("node-0", ["no-such-command"]), capture_output=True)
    assert done.returncode == 127
    assert b"no-such-command: No such file or directory" in done.stderr


def test_a_command_goes_on_when_its_input_ends(runtime):
    done = subprocess.run(
        runtime.command("node-0", ["sh", "-c", "sleep 0.5; echo done"]),
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert done.stdout == b"done\n"


def test_a_command_meets_no_child_and_no_file_that_it_does_not_know(runtime):
    look = ["sh", "-c", "cat /proc/$$/task/$$/children; echo; wait; ls /proc/$$/fd"]
    done = subprocess.run(runtime.command("node-0", look), capture_output=True, stdin=subprocess.DEVNULL)
    children, *files = done.stdout.splitlines()
    assert len(children.split()) == 1  # cat itself
    assert files == [b"0", b"1", b"2"]


@pytest.mark.parametrize("place", ["node-0", BRIDGE])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_command_ends_with_its_client(runtime, mark, place, number):
    with start(runtime.command(place, ["sleep", mark])) as client:
        assert until(lambda: bool(sleeping(mark)), True)
        client.send_signal(number)
    assert until(lambda: sleeping(mark), []) == []


def test_a_command_on_a_terminal_ends_with_its_client(runtime, mark):
    ours, theirs = pty.openpty()
    command = runtime.command("node-0", ["sleep", mark], tty=True)
    with start(command, stdin=theirs, stdout=theirs, stderr=theirs) as client:
        os.close(theirs)
        assert until(lambda: bool(sleeping(mark)), True)
        client.kill()
    os.close(ours)
    assert until(lambda: sleeping(mark), []) == []


def test_control_c_on_a_terminal_reaches_the_command(runtime, mark):
    ours, theirs = pty.openpty()
    ask = ["sh", "-c", f"trap 'echo caught; exit 9' INT; sleep {mark} & wait"]
    with start(
        runtime.command("node-0", ask, tty=True), stdin=theirs, stdout=theirs, stderr=theirs
    ) as client:
        os.close(theirs)
        assert until(lambda: bool(sleeping(mark)), True)
        os.write(ours, b"\x03")
        assert client.wait(30) == 9
    os.close(ours)
    assert until(lambda: sleeping(mark), []) == []


def test_what_a_command_started_ends_with_its_client_whatever_it_ignores(runtime, mark):
    stubborn = f"trap '' TERM HUP INT; setsid sleep {mark} & sleep {mark}"
    with start(runtime.command("node-0", ["sh", "-c", stubborn])) as client:
        assert until(lambda: len(sleeping(mark)), 2) == 2
        client.kill()
    assert until(lambda: sleeping(mark), []) == []


def test_what_a_command_left_behind_when_it_ended_well_stays(runtime, mark):
    leave = runtime.command("node-0", ["sh", "-c", f"sleep {mark} >/dev/null 2>&1 &"])
    subprocess.run(leave, check=True, stdin=subprocess.DEVNULL)
    assert len(sleeping(mark)) == 1
    subprocess.run(runtime.command("node-0", ["pkill", "-f", f"sleep {mark}"]), check=True)


def test_a_program_of_ours_ends_with_its_client_and_so_does_what_it_runs(runtime, mark):
    file = f"/run/hopbed/log/{mark}.pcapng"
    capture = [*runtime.python, "-m", "nodes.capture", "--interface", "eth0", "--file", file]
    with start(runtime.command("node-0", capture), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert b'"ready"' in client.stdout.readline()
        assert has(runtime, "dumpcap")
        client.kill()
    assert until(lambda: processes(mark), []) == []
    assert not until(lambda: has(runtime, "dumpcap"), False)


def has(runtime, program):
    """Whether the node runs a program."""
    look = runtime.command("node-0", ["pgrep", "--exact", program])
    return subprocess.run(look, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def sleeping(mark):
    """The processes that sleep this long, wherever; not the clients that name them."""
    return [pid for pid in processes(mark) if name_of(pid) == "sleep"]


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
