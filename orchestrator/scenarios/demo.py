"""Plays several stories one after another, and writes one page that leads to all of their evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from nodes.errors import HopbedError
from orchestrator.events import EventStream, Sink
from orchestrator.evidence.folder import require_empty, write_whole
from orchestrator.evidence.verdict import Outcome, Verdict
from orchestrator.evidence.versions import versions
from orchestrator.report.stories_page import StoryFigure, StoryPart, render_stories
from orchestrator.report.write import REPORT
from orchestrator.scenarios.ab import Vary, run_ab
from orchestrator.scenarios.comparison import Comparison, figures_of
from orchestrator.scenarios.runner import Run, run
from orchestrator.scenarios.stories import Story

SCHEMA: Final = "hopbed.demo/1"
DEMO = "demo.json"
_WORST = (Outcome.ERROR, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of a story, by side; a story of one run has one side, ``measured``."""

    name: str
    unit: str
    values: dict[str, float]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A story that was played.

    Attributes:
        name: the story's.
        outcome: of the worst of its runs.
        error: what ended it early; empty where nothing did.
        figures: those that the story is about.
        report: the pages, relative to the demo's folder, by what they show.
    """

    name: str
    outcome: Outcome
    error: str = ""
    figures: list[Figure] = []
    report: dict[str, str] = {}


class Demo(msgspec.Struct, frozen=True, kw_only=True):
    """What ``demo.json`` holds."""

    schema: str = SCHEMA
    outcome: Outcome
    stories: list[Told]


class Prepare(Protocol):
    """Makes a run of a scenario, whose evidence goes to ``out``, with ``name=value`` words."""

    def __call__(self, scenario: str, out: Path, *words: str) -> Run:
        """The run, checked.

        Raises:
            UsageError: there is no such scenario, or a parameter is wrong.
        """


async def play_stories(
    stories: Sequence[Story],
    prepare: Prepare,
    out: Path,
    sink: Sink,
    on_end: Callable[[Story, Verdict | Comparison], None] = lambda *_: None,
) -> Demo:
    """Play the stories; the page and ``demo.json`` are written anew after each.

    A story that does not get to its end is told as such, and the next one is played.

    Args:
        stories: what to play.
        prepare: makes the runs; all are made before any is started.
        out: an empty folder, or one that is to be made; each story has a folder of its own in it.
        sink: gets the events of every run.
        on_end: is called with what came of each story that got to its end.

    Raises:
        UsageError: the folder is not empty, or a story asks for what there is not; nothing was started.
    """
    sides = {story.name: _sides(story, prepare, out / story.name) for story in stories}
    require_empty(out)
    told: list[Told] = []
    for story in stories:
        told.append(await _play(story, sides[story.name], out, sink, on_end))
        demo = Demo(outcome=_worst(one.outcome for one in told), stories=told)
        _write(out, stories, demo)
    return demo


def _sides(story: Story, prepare: Prepare, folder: Path) -> dict[str, Run]:
    """The runs of a story by the value that is varied; by the empty word where none is."""
    if not story.vary:
        return {"": prepare(story.scenario, folder, *story.parameters)}
    vary = Vary.parse(story.vary)
    return {
        value: prepare(story.scenario, folder, *story.parameters, f"{vary.parameter}={value}")
        for value in vary.values
    }


async def _play(
    story: Story,
    sides: Mapping[str, Run],
    out: Path,
    sink: Sink,
    on_end: Callable[[Story, Verdict | Comparison], None],
) -> Told:
    try:
        if story.vary:
            comparison = await run_ab(sides, Vary.parse(story.vary), 1, out / story.name, sink)
            on_end(story, comparison)
            return _compared(story, comparison, out)
        events = EventStream()
        events.add_sink(sink)
        verdict = await run(sides[""], events)
        on_end(story, verdict)
        return _judged(story, verdict)
    except HopbedError as error:
        return Told(name=story.name, outcome=Outcome.ERROR, error=f"{type(error).__name__}: {error}")


def _judged(story: Story, verdict: Verdict) -> Told:
    found = {name: (unit, value) for (name, unit), value in figures_of(verdict).items()}
    figures = [
        Figure(name=name, unit=found[name][0], values={"measured": found[name][1]})
        for name in story.figures
        if name in found
    ]
    report = {"report": f"{story.name}/{REPORT}"}
    return Told(name=story.name, outcome=verdict.outcome, figures=figures, report=report)


def _compared(story: Story, comparison: Comparison, out: Path) -> Told:
    found = {figure.name: figure for figure in comparison.figures}
    figures = [
        Figure(name=name, unit=found[name].unit, values=found[name].medians)
        for name in story.figures
        if name in found
    ]
    pages = sorted(page.name for page in (out / story.name).glob("report*.html"))
    report = {_label(page): f"{story.name}/{page}" for page in pages}
    report |= {
        f"{comparison.vary}={side} alone": f"{story.name}/{folders[0]}/{REPORT}"
        for side, folders in comparison.runs.items()
    }
    outcome = _worst(Outcome(one) for outcomes in comparison.outcomes.values() for one in outcomes)
    return Told(name=story.name, outcome=outcome, figures=figures, report=report)


def _label(page: str) -> str:
    """What a page of two sides shows: ``report-a-b.html`` has its sides in its name."""
    sides = Path(page).stem.removeprefix("report").strip("-")
    return f"the sides beside each other ({sides})" if sides else "the sides beside each other"


def _worst(outcomes: Iterable[Outcome]) -> Outcome:
    return min(outcomes, key=_WORST.index)


def _write(out: Path, stories: Sequence[Story], demo: Demo) -> None:
    by_name = {story.name: story for story in stories}
    parts = [
        StoryPart(
            name=told.name,
            title=by_name[told.name].title,
            text=by_name[told.name].text,
            outcome=told.outcome.value,
            note=told.error,
            figures=[
                StoryFigure(name=figure.name, unit=figure.unit, values=figure.values)
                for figure in told.figures
            ],
            links=tuple(told.report.items()),
        )
        for told in demo.stories
    ]
    footer = f"Made by Hopbed {versions().get('hopbed', '')}; each report is made from its evidence alone."
    write_whole(out / REPORT, render_stories("demo", parts, footer=footer))
    write_whole(out / DEMO, msgspec.json.format(msgspec.json.encode(demo), indent=2) + b"\n")
