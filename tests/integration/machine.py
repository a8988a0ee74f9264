"""What is on this machine: the traces that a run could leave."""

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
EMULATED = "HOPBED_PATIENCE" in os.environ
"""Whether the machine is an emulated one, in which everything takes ten times as long."""
PATIENCE = 580 if EMULATED else 240
"""Seconds that a command of ours may take."""
HOPBED = [str(Path(sys.executable).with_name("hopbed"))]


def hopbed(*arguments, check=None, **popen):
    """Run ``hopbed`` to its end; with ``check``, that is its exit status."""
    done = subprocess.run(
        [*HOPBED, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        **popen,
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
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        if mark in _text(folder / "cmdline") + _text(folder / "environ"):
            found.add(int(folder.name))
    return found


def processor_time(pids):
    """The processor time that each of these processes has had, in seconds; of those that are there."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for pid in pids:
        fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()  # its name may hold anything
        if fields:
            found[pid] = sum(map(int, fields[11:13])) / tick
    return found


def packets_in(capture, display_filter):
    """The numbers of a capture's packets that a display filter shows, as tshark says."""
    line = ["tshark", "-r", str(capture), "-Y", display_filter, "-T", "fields", "-e", "frame.number"]
    said = subprocess.run(line, capture_output=True, check=True).stdout
    return [int(number) for number in said.split()]


def docker_lines(*words):
    """The lines that a docker command writes; none where there is no engine."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    return set(done.stdout.splitlines()) if done.returncode == 0 else set()


def traces(run_id, *, docker=True):
    """Everything on this machine that bears a run's id: processes, containers, networks, mounts, folders."""
    found = {f"process {pid}" for pid in processes(run_id)}
    for kind, words in docker * (
        ("container", ("ps", "-a", "--format", "{{.Names}}", "--filter", f"name={run_id}")),
        ("network", ("network", "ls", "--format", "{{.Name}}", "--filter", f"name={run_id}")),
        ("volume", ("volume", "ls", "--format", "{{.Name}}", "--filter", f"name={run_id}")),
    ):
        found |= {f"{kind} {line}" for line in docker_lines(*words)}
    found |= {f"mount {line}" for line in _text(Path("/proc/self/mounts")).splitlines() if run_id in line}
    for folder in (Path("/tmp"), Path("/run"), Path("/var/tmp"), Path("/dev/shm")):
        for parent, folders, files in os.walk(folder):
            found |= {f"file {parent}/{name}" for name in (*folders, *files) if run_id in name}
    return found


_SO_NETNS_COOKIE = 71
_LIBC = ctypes.CDLL(None, use_errno=True)


def network_namespaces(pids=None):
    """The network namespaces, but our own, that processes are in: those of ``pids``, or all.

    By their cookies: the kernel gives the inode of one that is gone to the next.
    """
    paths = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and (pids is None or int(folder.name) in pids):
                paths[os.readlink(folder / "ns" / "net")] = folder / "ns" / "net"
    paths.pop(os.readlink("/proc/self/ns/net"), None)
    found = set()
    # a thread of its own, with which what it enters ends
    thread = threading.Thread(target=_add_cookies, args=(paths.values(), found))
    thread.start()
    thread.join()
    return found


def _add_cookies(paths, found):
    for path in paths:
        with contextlib.suppress(OSError), path.open("rb") as namespace:
            if _LIBC.setns(namespace.fileno(), 0) == 0:
                with socket.socket(socket.AF_UNIX) as inside:
                    cookie = inside.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
                    found.add(int.from_bytes(cookie, sys.byteorder))


def containers_processes(run_id):
    """The first process of each container of a run."""
    ids = docker_lines("ps", "-q", "--filter", f"name={run_id}")
    return {int(pid) for pid in docker_lines("inspect", "--format", "{{.State.Pid}}", *ids)} if ids else set()


def wait_until_gone(run_id, seconds):
    """What is left of a run after ``seconds`` at the most; empty as soon as nothing is."""
    deadline = time.monotonic() + seconds
    while (left := traces(run_id)) and time.monotonic() < deadline:
        time.sleep(0.05)  # the engine and the kernel say nothing when they are done
    return left
