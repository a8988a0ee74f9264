"""One run that is killed: a victim in it dies as a phase begins, and what could be left is looked for.

The run stands still while its processes are noted and the victim is killed (SIGSTOP to the orchestrator), so
that the phase is the one that was asked for however busy the machine is.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from machine import HOPBED, ROOT, docker_lines, network_namespaces, traces
from victims import Process, Victim, of_run, pid_of, started

from orchestrator.capture.pcapng import read_file
from orchestrator.evidence.folder import CAPTURES, RUN, TIMELINE, VERDICT
from orchestrator.evidence.read import read_evidence

GONE_WITHIN = 30.0
"""Seconds after which what is there still counts as left behind."""
OVER_WITHIN = 180.0
"""Seconds that a run may go on for after its victim died."""
_SAID = re.compile(r"^ *-?[0-9.]+ s  (.*)$")
_CAPTURED = frozenset({"scenario", "capture stop", "report"})
"""Phases at which the captures have packets."""


class Engine(NamedTuple):
    """The Docker Engine of a run: its dockerd, where that may die, and how it starts again.

    ``inside`` is what a command line begins with that looks at the network which the engine is in.
    """

    dockerd: Callable[[], int | None] = lambda: None
    start: Callable[[], None] = lambda: None
    inside: tuple[str, ...] = ()


class Killed(NamedTuple):
    """What one run came to: what is wrong with it, and whether the victim was there at all."""

    problems: tuple[str, ...]
    was_there: bool


class _Held(NamedTuple):
    """What a run holds at a moment that does not bear its id."""

    processes: Mapping[int, Process]
    namespaces: frozenset[int]
    bridges: frozenset[str]
    mounts: frozenset[str]


def kill(victim: Victim, phase: str, runtime: str, engine: Engine | None = None) -> Killed:
    """Run the victim's story until ``phase`` begins, kill the victim, and look at what becomes of it all.

    Docker's run goes to the engine that DOCKER_HOST names.
    """
    with tempfile.TemporaryDirectory(prefix="matrix-") as folder:
        return _Run(victim, phase, runtime, Path(folder), engine or Engine()).judge()


class _Run:
    def __init__(self, victim: Victim, phase: str, runtime: str, folder: Path, engine: Engine) -> None:
        self._victim, self._phase, self._engine = victim, phase, engine
        self._docker = runtime == "docker"
        self._out, self._temporary = folder / "evidence", folder / "tmp"
        self._temporary.mkdir()
        self._words = ["run", *victim.story.words, "--runtime", runtime, "--out", str(self._out)]
        self._id = ""
        self._said: list[str] = []

    def judge(self) -> Killed:
        """From the start to the last look."""
        process = subprocess.Popen(
            [*HOPBED, *self._words],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(self._temporary)},
        )
        if not self._reaches_phase(process):
            process.wait()
            return Killed((f"the run ended before: {self._said[-1:]}",), was_there=False)
        process.send_signal(signal.SIGSTOP)
        held = self._held(process.pid)
        pid = pid_of(self._victim, held.processes, process.pid, self._engine.dockerd())
        if pid is not None:
            os.kill(pid, self._victim.number)
        process.send_signal(signal.SIGCONT)
        try:
            _, rest = process.communicate(timeout=OVER_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return Killed((f"the run was not over {OVER_WITHIN:g} s later",), was_there=True)
        if pid is not None and self._victim.name == "dockerd":
            self._engine.start()  # as its user would; the next command then clears up
            subprocess.run([*HOPBED, "ps"], cwd=ROOT, capture_output=True, check=False)
        problems = self._left(held)
        if pid is None:
            missed = ("nobody to kill",) if self._phase in self._victim.there else ()
            return Killed((*missed, *problems), was_there=False)
        if process.returncode not in self._victim.statuses:
            problems.append(f"exit status {process.returncode}: {rest.strip().splitlines()[-1:]}")
        return Killed((*problems, *self._unreadable()), was_there=True)

    def _reaches_phase(self, process: subprocess.Popen[str]) -> bool:
        begins = self._victim.story.begins[self._phase]
        assert process.stderr is not None
        for line in process.stderr:
            said = found[1] if (found := _SAID.match(line)) else line.strip()
            self._said.append(said)
            if said.startswith("testbed.starting run "):
                self._id = said.split()[2]
            if f"{said} ".startswith(f"{begins} "):
                return True
        return False

    def _held(self, hopbed: int) -> _Held:
        processes = dict(of_run(self._id, docker=self._docker))
        processes.pop(hopbed, None)
        spaces = frozenset(network_namespaces(processes)) if processes else frozenset()
        if not self._docker:
            return _Held(processes, spaces, frozenset(), frozenset())
        networks = docker_lines("network", "ls", "-q", "--filter", f"name={self._id}")
        containers = docker_lines("ps", "-q", "--filter", f"name={self._id}")
        mounts: set[str] = set()
        if containers:
            form = "{{.GraphDriver.Data.MergedDir}}\n{{.NetworkSettings.SandboxKey}}"
            mounts = docker_lines("inspect", "--format", form, *containers) - {""}
            mounts = {one for one in mounts if not one.endswith("/default")}  # the engine's own network
        dockerd = self._engine.dockerd()
        shared = network_namespaces({dockerd}) if dockerd else set()  # the bridge's place is in it too
        return _Held(
            processes, spaces - shared, frozenset(f"br-{one}" for one in networks), frozenset(mounts)
        )

    def _left(self, held: _Held) -> list[str]:
        """What there still is of the run once its processes have ended, or have had time to."""
        deadline = time.monotonic() + GONE_WITHIN
        for process in held.processes.values():
            _wait_end(process, deadline)
        while left := self._look(held):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)  # the kernel takes what nobody uses away in its own time, and says nothing
        return [f"left: {one}" for one in sorted(left)]

    def _look(self, held: _Held) -> set[str]:
        found = traces(self._id, docker=self._docker)
        found |= {
            f"process {one.pid} {one.command.strip()}"
            for one in held.processes.values()
            if started(one.pid) == one.started
        }
        if held.namespaces & network_namespaces():
            found.add("a network namespace")
        mounted = Path("/proc/self/mounts").read_text()
        found |= {f"mount {one}" for one in held.mounts if f" {one} " in mounted}
        if held.bridges:
            look = "ip -oneline link; nft list ruleset; ip6tables-save; iptables-save"
            shown = subprocess.run(
                [*self._engine.inside, "sh", "-c", look], capture_output=True, text=True, check=False
            ).stdout
            found |= {f"interface or packet filter with {one}" for one in held.bridges if one in shown}
        return found | {f"temporary file {one.name}" for one in self._temporary.iterdir()}

    def _unreadable(self) -> list[str]:
        """What is not on disk of what was seen until the phase began, or does not open."""
        try:
            return self._missing()
        except Exception as error:  # whatever it is, it is a finding
            return [f"the evidence does not open: {type(error).__name__}: {error}"]

    def _missing(self) -> list[str]:
        read_evidence(self._out)
        kinds = [json.loads(line)["kind"] for line in (self._out / TIMELINE).read_bytes().split(b"\n")[:-1]]
        before = [line.split()[0] for line in self._said[:-1] if "." in line.split()[0]]
        found = [f"{RUN} is missing"] if not (self._out / RUN).exists() else []
        lost = sorted({kind for kind in before if before.count(kind) > kinds.count(kind)})
        if lost:
            found.append(f"not in the timeline: {lost}")
        if not (self._out / VERDICT).exists() and -9 not in self._victim.statuses:
            found.append("there is no verdict")
        captures = [file for file in (self._out / CAPTURES).glob("*.pcapng") if file.stat().st_size]
        packets = {file.stem: len(read_file(file).time_ns) for file in captures}
        if self._phase in _CAPTURED and not packets.get("bridge"):
            found.append(f"no packets in the bridge's capture: {packets}")
        return found


def _wait_end(process: Process, deadline: float) -> None:
    """Wait until a process has ended, or the deadline has."""
    try:
        ended = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if started(process.pid) == process.started:
            select.select([ended], [], [], max(0.0, deadline - time.monotonic()))
    finally:
        os.close(ended)
