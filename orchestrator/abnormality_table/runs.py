"""The runs that the table is made of: which, and several at a time."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio

from nodes import errors
from nodes.events import Event
from orchestrator.breaking.kinds import Kind
from orchestrator.cli.asked import Words
from orchestrator.evidence.folder import VERDICT
from orchestrator.evidence.verdict import Verdict, decode
from orchestrator.scenarios.ab import COMPARISON, Vary, run_ab
from orchestrator.scenarios.runner import Run

SCENARIO = "ike-abnormality"
SIDES = ("off", "on")
VERSIONS = ("1", "2")
KINDS = tuple(kind for kind in Kind if kind is not Kind.THIRD_PARTY_FLOOD)
STEADY = ((Kind.PSK, "1"), (Kind.CORRUPTED_ENCRYPTED, "2"), (Kind.TRAFFIC_SELECTOR, "1"))
"""Beside what an established tunnel is measured: in phase 1, on the wire, within an IKE SA that stands."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """One comparison: the handling varied over ``sides``.

    Attributes:
        name: of its folder.
        given: the scenario's other parameters.
        alone: nothing else may run beside it, for it needs the processors.
    """

    name: str
    given: Mapping[str, str]
    sides: tuple[str, ...] = SIDES
    alone: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bed:
    """Where the runs take place."""

    file: Path
    runtime: str
    dataplane: str

    def words(self, given: Mapping[str, str]) -> Words:
        """The words of a command line with these parameters."""
        return Words(
            given=[f"{name}={value}" for name, value in given.items()],
            faults=(),
            impairments=(),
            seed=None,
            file=self.file,
            runtime=self.runtime,
            dad="nodad",
            dataplane=self.dataplane,
            keys=False,
        )


def kind_pairs(seconds: str, duration: str) -> dict[tuple[str, str], Pair]:
    """Every kind but the flood, in both versions."""
    return {
        (kind.value, ike): Pair(
            name=f"{kind.value}-{ike}",
            given={"kind": kind.value, "ike": ike, "t1": seconds, "t2": seconds, "duration": duration},
        )
        for kind in KINDS
        for ike in VERSIONS
    }


def activated(seconds: str) -> dict[tuple[str, str], Pair]:
    """The same, mended soon after the first abnormality, with the operator's word."""
    return {
        (kind.value, ike): Pair(
            name=f"activate-{kind.value}-{ike}",
            given={
                "kind": kind.value,
                "ike": ike,
                "t1": seconds,
                "t2": seconds,
                "duration": "12",
                "activate": "true",
            },
            sides=("on",),
        )
        for kind in KINDS
        for ike in VERSIONS
    }


def long_pairs(seconds: str, duration: str) -> dict[str, Pair]:
    """The pre-shared key mismatch of IKEv1 at longer times, by charon's timers."""
    return {
        timers: Pair(
            name=f"long-{timers}",
            given={
                "kind": Kind.PSK.value,
                "ike": "1",
                "t1": seconds,
                "t2": seconds,
                "duration": duration,
                "timers": timers,
                "repair": "false",
            },
        )
        for timers in ("short", "default")
    }


def floods(seconds: str) -> dict[str, Pair]:
    """20,000 forged first messages."""
    given = {"kind": Kind.THIRD_PARTY_FLOOD.value, "duration": "60", "t1": seconds, "t2": seconds}
    return {ike: Pair(name=f"flood-{ike}", given={**given, "ike": ike}, alone=True) for ike in VERSIONS}


def steady_pairs(seconds: str) -> dict[tuple[str, str], Pair]:
    """An established tunnel under 500 packets/s beside what fails."""
    return {
        (kind.value, ike): Pair(
            name=f"established-{kind.value}-{ike}",
            given={
                "kind": kind.value,
                "ike": ike,
                "t1": seconds,
                "t2": seconds,
                "duration": "40",
                "established": "true",
            },
            alone=True,
        )
        for kind, ike in STEADY
    }


Say = Callable[[str], None]


def is_done(pair: Pair, folder: Path) -> bool:
    """Whether a pair was run into ``folder`` to its end."""
    return (folder / pair.name / COMPARISON).exists()


async def run_all(pairs: Sequence[Pair], bed: Bed, folder: Path, jobs: int, say: Say) -> None:
    """Run what ``folder`` does not have yet: ``jobs`` at a time, and those that must be alone at the end.

    Raises:
        ParameterError: a pair's parameters are wrong; nothing was started.
    """
    waiting = [pair for pair in pairs if not is_done(pair, folder)]
    together = [pair for pair in waiting if not pair.alone]
    slots = anyio.Semaphore(jobs)

    every = {
        pair.name: _sides(pair, bed, folder) for pair in waiting
    }  # what is wrong is told before any starts

    async def one(pair: Pair) -> None:
        async with slots:
            await _run(pair, every[pair.name], folder, say)

    async with anyio.create_task_group() as tasks:
        for pair in together:
            tasks.start_soon(one, pair)
    for pair in waiting:
        if pair.alone:
            await one(pair)


def _sides(pair: Pair, bed: Bed, folder: Path) -> dict[str, Run]:
    words = bed.words(pair.given)
    return {value: words.run(SCENARIO, folder / pair.name, f"handling={value}") for value in pair.sides}


async def _run(pair: Pair, sides: Mapping[str, Run], folder: Path, say: Say) -> None:
    out = folder / pair.name
    if out.exists():
        shutil.rmtree(out)  # of a run that was cut off
    vary = Vary(parameter="handling", values=pair.sides)
    begin = anyio.current_time()
    try:
        comparison = await run_ab(sides, vary, 1, out, _ignore)
        outcome = ", ".join(f"{side} {comparison.outcomes[side][0]}" for side in pair.sides)
    except errors.HopbedError as error:
        outcome = f"error: {error}"
    say(f"{pair.name}: {outcome} ({anyio.current_time() - begin:.0f} s)")


def _ignore(_: Event) -> None:
    pass


def verdicts(pair: Pair, folder: Path) -> dict[str, Verdict | None]:
    """The verdict of each side; None where the run did not get to its end."""
    found: dict[str, Verdict | None] = {}
    for side in pair.sides:
        path = folder / pair.name / f"handling-{side}-1" / VERDICT
        found[side] = decode(path.read_bytes()) if path.exists() else None
    return found
