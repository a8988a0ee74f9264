"""Several stories with one page: what is told of each, also of one that did not get to its end."""

import json

import pytest
from test_comparison import of

from nodes.errors import NodeError, UsageError
from orchestrator.evidence.verdict import Outcome
from orchestrator.report.stories_page import StoryFigure, StoryPart, render_stories
from orchestrator.scenarios import demo
from orchestrator.scenarios.catalogue import SCENARIOS
from orchestrator.scenarios.catalogue import find as find_scenario
from orchestrator.scenarios.stories import STORIES, Story, find

pytestmark = pytest.mark.anyio

ONE = Story(
    name="one", title="One", text="It goes.", scenario="rekey", figures=("lost on udp-a-b", "no such")
)
TWO = Story(name="two", title="Two", text="It goes too.", scenario="rekey")


def prepared(scenario, out, *words):
    """The words that a run would be made of."""
    return (scenario, out, *words)


async def played(monkeypatch, tmp_path, outcomes, stories=(ONE, TWO)):
    """The demo of stories whose runs come out so: a verdict, or an error that is raised."""
    left = list(outcomes)

    async def run(_asked, _events):
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(demo, "run", run)
    return await demo.play_stories(stories, prepared, tmp_path / "demo", lambda _: None)


async def test_the_figures_that_a_story_is_about_are_told_with_its_report(monkeypatch, tmp_path):
    told = await played(monkeypatch, tmp_path, [of(3), of(0)])
    assert told.outcome is Outcome.PASS
    first = told.stories[0]
    assert [(one.name, one.unit, one.values) for one in first.figures] == [
        ("lost on udp-a-b", "packets", {"measured": 3})
    ]
    assert first.report == {"report": "one/report.html"}
    assert json.loads((tmp_path / "demo" / "demo.json").read_text())["schema"] == "hopbed.demo/1"


async def test_a_story_that_breaks_off_is_told_and_the_next_one_is_played(monkeypatch, tmp_path):
    told = await played(monkeypatch, tmp_path, [NodeError("peer-a died"), of(0)])
    assert [one.outcome for one in told.stories] == [Outcome.ERROR, Outcome.PASS]
    assert told.outcome is Outcome.ERROR
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "NodeError: peer-a died" in page


async def test_the_worst_story_is_the_outcome(monkeypatch, tmp_path):
    told = await played(monkeypatch, tmp_path, [of(0), of(9, outcome=Outcome.FAIL)])
    assert told.outcome is Outcome.FAIL


async def test_what_stands_already_is_never_overwritten(monkeypatch, tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine").touch()
    with pytest.raises(UsageError, match="is not empty"):
        await played(monkeypatch, tmp_path, [of(0), of(0)])


def test_stories_are_found_by_name_in_their_own_order():
    names = [story.name for story in STORIES]
    assert [story.name for story in find(tuple(reversed(names)))] == names
    assert find(()) == STORIES
    with pytest.raises(UsageError, match=f"no story 'x'; there are {', '.join(names)}"):
        find(("x",))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_every_story_is_of_a_scenario_that_takes_its_parameters(story):
    assert story.scenario in SCENARIOS
    name, _, values = story.vary.partition("=")
    sides = [f"{name}={value}" for value in values.split(",")] if story.vary else []
    for side in sides or [None]:
        find_scenario(story.scenario).parse([*story.parameters, *([side] if side else [])])


def test_the_page_escapes_what_it_is_told_and_runs_nothing():
    hostile = "<script>alert(1)</script>"
    part = StoryPart(
        name="one",
        title=hostile,
        text=hostile,
        outcome="error",
        note=hostile,
        figures=[StoryFigure(name=hostile, unit=hostile, values={hostile: 1.0})],
        links=((hostile, "a b/report.html"),),
    )
    page = render_stories(hostile, [part], footer=hostile).decode()
    assert "<script" not in page
    assert 'href="a%20b/report.html"' in page
    assert "script-src &#x27;none&#x27;" in page


def test_the_longest_bar_is_the_greatest_value_and_nothing_is_a_line():
    figure = StoryFigure(name="lost", unit="packets", values={"stock": 2000, "early": 0})
    part = StoryPart(name="n", title="t", text="x", outcome="pass", note="", figures=[figure], links=())
    page = render_stories("demo", [part], footer="").decode()
    assert 'width="320.0"' in page
    assert 'width="1.0"' in page
    assert "2,000 packets" in page
