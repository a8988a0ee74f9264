"""The evidence folder of a run: made before anything starts, and complete however the run ends."""

from __future__ import annotations

import dataclasses
import os
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodes import errors
from orchestrator.evidence import run_file, verdict
from orchestrator.evidence.junit import junit
from orchestrator.evidence.run_file import CaptureFile, RunFile
from orchestrator.evidence.timeline import Timeline
from orchestrator.evidence.verdict import CaptureTotals, Check, FlowVerdict, Outcome, Verdict
from orchestrator.evidence.versions import versions

VERDICT = "verdict.json"
TIMELINE = "timeline.jsonl"
RUN = "run.json"
JUNIT = "junit.xml"
COMPOSE = "compose.yaml"
CAPTURES = "captures"
NODES = "nodes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of a run before it begins; see :class:`~orchestrator.evidence.verdict.Verdict`.

    ``command`` is what runs it again, the seed included.
    """

    scenario: str
    parameters: Mapping[str, Any]
    seed: int
    runtime: str
    dad: str
    command: Sequence[str]


class Evidence:
    """The evidence of one run, as it grows.

    Attributes:
        path: the folder.
        captures: where captures go.
        nodes: where the nodes' logs go, a folder for each.
        timeline: a sink for the event stream.
        origin_ns: CLOCK_MONOTONIC when the run began.
        dataplane, checks, flows, versions: what goes into the verdict; filled in by whoever runs the run.
        capture_files: by place.
        verdict: once it is concluded.

    Raises:
        UsageError: the folder is not empty, or cannot be made.
    """

    def __init__(self, out: Path, setting: Setting) -> None:
        self.path = out.absolute()
        self.captures = self.path / CAPTURES
        self.nodes = self.path / NODES
        self.origin_ns = time.monotonic_ns()
        self.dataplane = "none"
        self.checks: list[Check] = []
        self.flows: list[FlowVerdict] = []
        self.versions = versions()
        self.capture_files: dict[str, CaptureFile] = {}
        self.verdict: Verdict | None = None
        self._setting = setting
        self._started = run_file.now()
        require_empty(out)
        try:
            self.captures.mkdir()
            self.nodes.mkdir()
            self.timeline = Timeline(self.path / TIMELINE)
            self._write_run(ended="")
        except OSError as error:
            raise errors.UsageError(f"cannot make the evidence folder {out}: {error.strerror}") from None

    @property
    def capture_totals(self) -> CaptureTotals:
        """Of all captures together."""
        files = self.capture_files.values()
        return CaptureTotals(
            packets=sum(file.packets for file in files), dropped=sum(file.dropped for file in files)
        )

    def conclude(self, error: BaseException | None = None) -> Verdict:
        """Write every file that is not yet there; ``error`` is what ended the run early."""
        checks = [*self.checks, *verdict.checks_of_the_evidence(self.flows, self.capture_totals)]
        if error is not None:
            checks.append(_ended_early(error))
        elif not self.checks:
            checks.append(_nothing_was_checked())
        setting = self._setting
        self.verdict = Verdict(
            scenario=setting.scenario,
            parameters=dict(setting.parameters),
            seed=setting.seed,
            runtime=setting.runtime,
            dataplane=self.dataplane,
            dad=setting.dad,
            outcome=verdict.overall(checks, self.flows, self.capture_totals),
            checks=tuple(checks),
            flows=tuple(self.flows),
            capture=self.capture_totals,
            versions=self.versions,
        )
        duration_s = (time.monotonic_ns() - self.origin_ns) / 1e9
        self._write_run(ended=run_file.now())
        write_whole(self.path / JUNIT, junit(self.verdict, started=self._started, duration_s=duration_s))
        write_whole(self.path / VERDICT, verdict.encode(self.verdict))
        self.timeline.close()
        return self.verdict

    def _write_run(self, *, ended: str) -> None:
        run = RunFile(
            scenario=self._setting.scenario,
            parameters=dict(self._setting.parameters),
            seed=self._setting.seed,
            command=tuple(self._setting.command),
            command_line=shlex.join(self._setting.command),
            directory=str(Path.cwd()),
            started=self._started,
            ended=ended,
            origin_ns=self.origin_ns,
            captures=self.capture_files,
            versions=self.versions,
        )
        write_whole(self.path / RUN, run_file.encode(run))


@contextmanager
def evidence(out: Path, setting: Setting) -> Iterator[Evidence]:
    """Evidence in the folder ``out``, concluded when the context ends, also by an error or a signal.

    Raises:
        UsageError: see :class:`Evidence`; nothing was started.
    """
    growing = Evidence(out, setting)
    try:
        yield growing
    except BaseException as error:
        growing.conclude(error)
        raise
    growing.conclude()


def require_empty(out: Path) -> None:
    """Make the folder ``out`` where there is none yet.

    Raises:
        UsageError: it is not empty, or cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        is_empty = next(out.iterdir(), None) is None
    except OSError as error:
        raise errors.UsageError(f"cannot make the evidence folder {out}: {error.strerror}") from None
    if not is_empty:
        raise errors.UsageError(f"{out} is not empty; evidence is never overwritten: name another folder")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that whoever opens it finds all of it, or what was there before."""
    descriptor, unborn = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(unborn).chmod(0o644)
        Path(unborn).replace(path)
    except BaseException:
        Path(unborn).unlink(missing_ok=True)
        raise


def _nothing_was_checked() -> Check:
    return Check(
        name="something was checked", expected="at least 1 check", measured=0, outcome=Outcome.INCONCLUSIVE
    )


def _ended_early(error: BaseException) -> Check:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, Exception):
        measured = f"{type(error).__name__}: {error}"
    else:
        measured = f"interrupted ({type(error).__name__})"
    return Check(name="the run got to its end", expected="no error", measured=measured, outcome=Outcome.ERROR)
