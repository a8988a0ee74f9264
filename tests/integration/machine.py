"""What is on this machine: the traces that a run could leave."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOPBED = [str(Path(sys.executable).with_name("hopbed"))]


def hopbed(*arguments, check=None, **popen):
    """Run ``hopbed`` to its end; with ``check``, that is its exit status."""
    done = subprocess.run(
        [*HOPBED, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False, **popen
    )
    if check is not None:
        assert done.returncode == check, done.stdout + done.stderr
    return done


def _text(path):
    with contextlib.suppress(OSError):
        return path.read_bytes().decode(errors="replace")
    return ""


def processes(mark):
    """The processes that have ``mark`` on their command line or in their environment, but us."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            if mark in _text(folder / "cmdline") + _text(folder / "environ"):
                found.add(int(folder.name))
    return found


def docker_lines(*words):
    """The lines that a docker command writes; none where there is no engine."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    return set(done.stdout.splitlines()) if done.returncode == 0 else set()


def traces(run_id):
    """Everything on this machine that bears a run's id: processes, containers, networks, mounts, folders."""
    found = {f"process {pid}" for pid in processes(run_id)}
    for kind, words in (
        ("container", ("ps", "-a", "--format", "{{.Names}}", "--filter", f"name={run_id}")),
        ("network", ("network", "ls", "--format", "{{.Name}}", "--filter", f"name={run_id}")),
        ("volume", ("volume", "ls", "--format", "{{.Name}}", "--filter", f"name={run_id}")),
    ):
        found |= {f"{kind} {line}" for line in docker_lines(*words)}
    found |= {f"mount {line}" for line in _text(Path("/proc/self/mounts")).splitlines() if run_id in line}
    for folder in (Path("/tmp"), Path("/run"), Path("/var/tmp"), Path("/dev/shm")):
        found |= {f"file {path}" for path in folder.glob(f"**/*{run_id}*")}
    return found


def interfaces():
    """The names of the interfaces of this network namespace."""
    return {path.name for path in Path("/sys/class/net").iterdir()}


def network_namespaces():
    """The network namespaces that a process is in."""
    found = set()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit():
                found.add(os.readlink(folder / "ns" / "net"))
    return found


def wait_until_gone(run_id, seconds):
    """What is left of a run after ``seconds`` at the most; empty as soon as nothing is."""
    deadline = time.monotonic() + seconds
    while (left := traces(run_id)) and time.monotonic() < deadline:
        os.sched_yield()
    return left
