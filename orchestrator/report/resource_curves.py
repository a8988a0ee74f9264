"""The page's part on what the run occupied: a curve for every figure that changed. It needs no script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nodes.events import Event
from orchestrator.report.markup import Markup, join, tag
from orchestrator.report.verdict_section import table
from orchestrator.resources.flatness import growth
from orchestrator.resources.series import Series, series_of

WIDTH, HEIGHT = 420, 36
MOST_POINTS = 300
MOST_CURVES = 200
"""Those that grew most, where there are more."""


def resource_curves(events: Iterable[Event]) -> Markup:
    """The curves, in order of their figures; empty for a run without samples."""
    every = series_of(events)
    by_figure: dict[str, list[Series]] = {}
    for one in every:
        by_figure.setdefault(one.key.figure, []).append(one)
    return join(*(_figure(figure, found) for figure, found in by_figure.items()))


def _figure(figure: str, found: Sequence[Series]) -> Markup:
    moving = [one for one in found if len(one.values) and np.ptp(one.values) > 0]
    moving.sort(key=lambda one: -growth(one).grown)
    still = len(found) - len(moving)
    told = f"{len(found)} series, {still} of them the same at every look"
    rows = [_row(one) for one in moving[:MOST_CURVES]]
    curves = table(("Whose", "From 0 to its peak, over the run", "First", "Last", "Peak", "Grown"), rows)
    return tag(
        "details",
        tag("summary", f"{figure.replace('_kib', ', KiB')}: {told}"),
        curves if rows else Markup(),
        class_="resource",
        open=bool(rows),
    )


def _row(series: Series) -> Markup:
    went = growth(series)
    cells = [_curve(series), *(f"{value:g}" for value in (series.values[0], series.values[-1]))]
    cells += [f"{series.values.max():g}", f"{went.grown:+.1f}"]
    labels = ("curve", "first", "last", "peak", "grown in the second half")
    return tag(
        "tr",
        tag("th", str(series.key) or "testbed", scope="row"),
        *(tag("td", cell, data_label=label) for cell, label in zip(cells, labels, strict=True)),
    )


def _curve(series: Series) -> Markup:
    step = -(-len(series.values) // MOST_POINTS)
    seconds, values = series.seconds[::step], series.values[::step]
    across = (seconds - seconds[0]) / max(seconds[-1] - seconds[0], 1e-9) * WIDTH
    down = HEIGHT - 2 - values / series.values.max() * (HEIGHT - 4)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    line = tag("polyline", points=points, fill="none", stroke="currentColor", stroke_width=1)
    label = f"{series.key.figure} of {series.key} over time"
    return tag(
        "svg", line, viewBox=f"0 0 {WIDTH} {HEIGHT}", width=WIDTH, height=HEIGHT, role="img", aria_label=label
    )
