"""Reads an evidence folder back, also one that a killed run left: what is missing or cut short is said."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from nodes import errors
from nodes.events import Event
from orchestrator.capture.blocks import PcapngError
from orchestrator.capture.pcapng import Packets, read_file
from orchestrator.continuity import ReceivedLog, SentLog, read_received, read_sent
from orchestrator.evidence import run_file, verdict
from orchestrator.evidence.folder import CAPTURES, NODES, RUN, TIMELINE, VERDICT
from orchestrator.evidence.run_file import CaptureFile, RunFile
from orchestrator.evidence.timeline import read_timeline
from orchestrator.evidence.verdict import Verdict
from orchestrator.runtimes.base import BRIDGE

KEYS = "keys"
"""The folder of Wireshark's tables, where the run's keys were asked for."""

_SCHEMA = re.compile(r"hopbed\.run/([0-9]+)")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Capture:
    """A capture of the folder.

    Attributes:
        place: the bridge, or a node.
        file: relative to the folder.
        packets: its packets.
        offset_ns: what to take from their times to get the timeline's.
    """

    place: str
    file: str
    packets: Packets
    offset_ns: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FlowLogs:
    """The logs of a flow's two ends, and the nodes that wrote them; None where there is none."""

    sent: SentLog | None = None
    received: ReceivedLog | None = None
    source: str | None = None
    destination: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ReadEvidence:
    """What an evidence folder says.

    Attributes:
        path: the folder.
        verdict: None where the run was killed before it came to one.
        run: what was run.
        events: in the order in which they happened.
        capture: the bridge's, or else the first that there is.
        flows: the logs by the flow's name.
        keys: whether there are keys for Wireshark.
        gaps: what is missing or cut short, in words; empty for a folder that is whole.
    """

    path: Path
    verdict: Verdict | None
    run: RunFile
    events: tuple[Event, ...]
    capture: Capture | None
    flows: Mapping[str, FlowLogs]
    keys: bool
    gaps: tuple[str, ...]


def read_evidence(path: Path) -> ReadEvidence:
    """Read an evidence folder.

    Raises:
        UsageError: it is none, is of a later schema, or has a file that is not what its name says.
    """
    run = read_run(path)
    gaps: list[str] = []
    capture = _capture(path, run, gaps)
    return ReadEvidence(
        path=path,
        verdict=_verdict(path, gaps),
        run=run,
        events=_events(path, gaps),
        capture=capture,
        flows=_flows(path, gaps),
        keys=(path / KEYS).is_dir(),
        gaps=tuple(gaps),
    )


def read_run(path: Path) -> RunFile:
    """What was run, from an evidence folder.

    Raises:
        UsageError: the folder is none, or is of a later schema.
    """
    file = path / RUN
    if not path.is_dir():
        raise errors.UsageError(f"{path}: there is no such folder")
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        raise errors.UsageError(f"{path} is no evidence folder: it has no {RUN}") from None
    except OSError as error:
        raise errors.UsageError(f"{file}: {error.strerror}") from None
    try:
        schema = str(msgspec.json.decode(text, type=dict[str, Any]).get("schema"))
        if _SCHEMA.fullmatch(schema) is None:
            raise errors.UsageError(f"{file}: not a run: its schema is {schema!r}, not {run_file.SCHEMA!r}")
        if schema != run_file.SCHEMA:
            raise errors.UsageError(
                f"{file}: a run of schema {schema!r}; this Hopbed reads {run_file.SCHEMA!r}"
            )
        return msgspec.json.decode(text, type=RunFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.UsageError(f"{file}: not a run: {error}") from None


def _verdict(path: Path, gaps: list[str]) -> Verdict | None:
    file = path / VERDICT
    try:
        return verdict.decode(file.read_bytes())
    except FileNotFoundError:
        gaps.append(f"there is no {VERDICT}: the run was killed, or is not over")
        return None
    except OSError as error:
        raise errors.UsageError(f"{file}: {error.strerror}") from None
    except errors.UsageError as error:
        raise errors.UsageError(f"{file}: {error}") from None


def _events(path: Path, gaps: list[str]) -> tuple[Event, ...]:
    file = path / TIMELINE
    if not file.is_file():
        gaps.append(f"there is no {TIMELINE}: no event is known")
        return ()
    return tuple(read_timeline(file))


def _capture(path: Path, run: RunFile, gaps: list[str]) -> Capture | None:
    """The capture to show; ``gaps`` gets what is wrong with this one, and which others are missing."""
    there = {file.stem: f"{CAPTURES}/{file.name}" for file in sorted((path / CAPTURES).glob("*.pcapng"))}
    kept_files = [kept.file for kept in run.captures.values()]
    gaps += [f"{file} is missing" for file in kept_files if not _within(path, file).is_file()]
    known = {place: kept.file for place, kept in run.captures.items() if (path / kept.file).is_file()}
    files = there | known
    for place in sorted(files, key=lambda place: (place != BRIDGE, place)):
        packets = _packets(path, files[place], gaps)
        if packets is not None:
            return Capture(
                place=place,
                file=files[place],
                packets=packets,
                offset_ns=_offset(run, run.captures.get(place), files[place], gaps),
            )
    gaps.append("there is no capture: no packet is known")
    return None


def _within(path: Path, file: str) -> Path:
    """The file, which stands in the folder.

    Raises:
        UsageError: it does not.
    """
    found = path / file
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise errors.UsageError(f"{path / RUN}: the capture {file!r} is not in the folder")
    return found


def _packets(path: Path, file: str, gaps: list[str]) -> Packets | None:
    if (path / file).stat().st_size == 0:
        gaps.append(f"{file} is empty")
        return None
    try:
        packets = read_file(path / file, allow_truncated=True)
    except PcapngError as error:
        raise errors.UsageError(str(error)) from None
    if packets.truncated_at is not None:
        gaps.append(
            f"{file} is cut short at octet {packets.truncated_at}: its first {len(packets)} packets are shown"
        )
    return packets


def _offset(run: RunFile, kept: CaptureFile | None, file: str, gaps: list[str]) -> int:
    if kept is not None:
        return kept.clock_offset_ns
    try:
        started = datetime.datetime.fromisoformat(run.started)
        since = started - datetime.datetime.fromtimestamp(0, tz=datetime.UTC)
    except (ValueError, TypeError):
        gaps.append(f"{file}: {RUN} says nothing of its clock: its times cannot be put beside the events")
        return 0
    gaps.append(f"{file}: {RUN} says nothing of its clock: its times may be off by a second")
    return since // datetime.timedelta(microseconds=1) * 1000 - run.origin_ns


def _flows(path: Path, gaps: list[str]) -> dict[str, FlowLogs]:
    flows: dict[str, FlowLogs] = {}
    for file in _logs(path, "sent"):
        known = flows.get(file.stem, FlowLogs())
        flows[file.stem] = dataclasses.replace(known, sent=_checked(file), source=file.parent.name)
    for file in _logs(path, "received"):
        known = flows.get(file.stem, FlowLogs())
        try:
            log = read_received(file)
        except errors.FlowError as error:
            raise errors.UsageError(str(error)) from None
        flows[file.stem] = dataclasses.replace(known, received=log, destination=file.parent.name)
    for name, flow in flows.items():
        if flow.sent is None:
            gaps.append(f"the log of what {name} sent is missing")
        if flow.received is None:
            gaps.append(f"the log of what arrived of {name} is missing")
    return flows


def _logs(path: Path, end: str) -> Iterable[Path]:
    return sorted((path / NODES).glob(f"*/*.{end}"))


def _checked(file: Path) -> SentLog:
    try:
        return read_sent(file)
    except errors.FlowError as error:
        raise errors.UsageError(str(error)) from None
