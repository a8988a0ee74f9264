"""The page of several stories: the verdict of each, its figures, and the way to its report."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from orchestrator.report.assets import asset, policy
from orchestrator.report.markup import Markup, join, tag, text
from orchestrator.report.verdict_section import outcome_badge

_ROW, _BAR, _WIDTH = 24, 14, 320
"""Of the bars: a row's height, a bar's, and the longest one's length, in pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoryFigure:
    """One figure of a story: its value on each side, by the label of the side."""

    name: str
    unit: str
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoryPart:
    """One story as the page tells it.

    Attributes:
        name: for links within the page.
        title: its heading.
        text: what it is about.
        outcome: ``pass``, ``fail``, ``inconclusive`` or ``error``.
        note: why it did not get to its end; empty where it did.
        figures: what came of it, the most telling one first.
        links: the reports, as label and path from the page.
    """

    name: str
    title: str
    text: str
    outcome: str
    note: str
    figures: Sequence[StoryFigure]
    links: Sequence[tuple[str, str]]


def render_stories(title: str, parts: Sequence[StoryPart], *, footer: str) -> bytes:
    """The page; it needs no script."""
    style = asset("report.css")
    content = string.Template(asset("index.html")).substitute(
        policy=text(policy(style)),
        title=text(f"Hopbed · {title}"),
        style=style,
        navigation=join(*(tag("a", part.title, href=f"#{part.name}") for part in parts)),
        body=join(*(_story(part) for part in parts)),
        footer=text(footer),
    )
    return content.encode(errors="replace")


def _story(part: StoryPart) -> Markup:
    links = [tag("a", label, href=quote(path)) for label, path in part.links]
    listed = tag("p", *(join(link, " ") for link in links), class_="story-links") if links else Markup()
    note = tag("div", tag("p", part.note), class_="gaps", role="note") if part.note else Markup()
    return tag(
        "section",
        tag("h1", part.title, outcome_badge(part.outcome)),
        tag("p", part.text, class_="lead"),
        note,
        *(_figure(figure) for figure in part.figures),
        listed,
        id=part.name,
        class_=f"card verdict {part.outcome}",
    )


def _figure(figure: StoryFigure) -> Markup:
    """A figure's values as bars of one scale; each bar stands behind its label and before its value."""
    most = max(figure.values.values(), default=0)
    rows = [
        tag(
            "tr",
            tag("th", label, scope="row"),
            tag("td", _bar(value / most * _WIDTH if most > 0 else 0)),
            tag("td", f"{_number(value)} {figure.unit}".rstrip(), class_="num"),
        )
        for label, value in figure.values.items()
    ]
    caption = tag("caption", figure.name)
    return tag("table", caption, tag("tbody", *rows), class_="bars")


def _bar(length: float) -> Markup:
    bar = tag(
        "rect", x=0, y=(_ROW - _BAR) // 2, width=f"{max(length, 1):.1f}", height=_BAR, rx=3, class_="bar-of"
    )
    return tag("svg", bar, width=_WIDTH, height=_ROW, aria_hidden="true")


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
