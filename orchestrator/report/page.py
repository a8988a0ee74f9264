"""The page itself: everything in one file, nothing from elsewhere, and nothing runs that is not its own.

The Content-Security-Policy names its style and its script by their digests: text from the evidence that
became markup by a mistake of ours would still not run, and the page cannot load or send anything.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

from orchestrator.evidence.read import ReadEvidence
from orchestrator.report.assets import asset, policy
from orchestrator.report.difference_section import Figure, differences
from orchestrator.report.markup import Markup, join, json_script, tag, text
from orchestrator.report.resource_curves import resource_curves
from orchestrator.report.side import POINTS, side
from orchestrator.report.verdict_section import VerdictSection

SCRIPTS = ("dom", "view", "packets", "tracks", "timeline", "ladder", "events", "main")
"""In this order they are one script."""

_PARTS = (
    (
        "timeline",
        "Timeline",
        "Each flow's delay or rate, with interruptions as hatched bands and the hops of its ends as marks;"
        " below, the hops with their phases, the SAs and the addresses. Drag to move, Ctrl and wheel or pinch"
        " to magnify, Shift and drag to select; or by keyboard: + − ← → 0.",
    ),
    (
        "ladder",
        "IKE ladder",
        "Every IKE message that the capture saw, by packet number, with what the nodes told of their SAs."
        " Open a message for its details.",
    ),
    ("sas", "SAs", ""),
    ("events", "Events", ""),
)


def render(evidence: ReadEvidence, *, base: str = "") -> bytes:
    """The report of one run, as it stands in ``report.html``.

    Args:
        evidence: the run's.
        base: from the page's folder to the evidence's, empty where they are one, else ending with a slash.
    """
    scenario = evidence.run.scenario
    outcome = "no verdict" if evidence.verdict is None else evidence.verdict.outcome.value
    return _page([(scenario, evidence, base)], title=f"{scenario}: {outcome}")


def render_comparison(
    a: ReadEvidence,
    b: ReadEvidence,
    *,
    labels: tuple[str, str],
    bases: tuple[str, str],
    figures: Sequence[Figure] = (),
) -> bytes:
    """The report of two runs beside each other.

    Args:
        a: the one side.
        b: the other side.
        labels: what the page calls them, such as ``responder=stock``.
        bases: from the page's folder to each evidence's, with a slash at the end.
        figures: what more there is to compare, such as medians of several runs; they stand first.
    """
    sides = [(labels[0], a, bases[0]), (labels[1], b, bases[1])]
    return _page(sides, title=f"{labels[0]} beside {labels[1]}", figures=figures)


def _page(
    runs: Sequence[tuple[str, ReadEvidence, str]], *, title: str, figures: Sequence[Figure] = ()
) -> bytes:
    values = [
        side(evidence, label=label, points=POINTS // len(runs)) | {"base": base, "index": index}
        for index, (label, evidence, base) in enumerate(runs)
    ]
    verdicts = [
        VerdictSection(evidence, one, index=index, base=base)
        for index, ((_, evidence, base), one) in enumerate(zip(runs, values, strict=True))
    ]
    labels = [label for label, _, _ in runs]
    parts: list[Markup] = [_sides(labels, [one.header() for one in verdicts], heading=False)]
    navigation = []
    if len(runs) == 2:
        compared = [(label, evidence, one) for (label, evidence, _), one in zip(runs, values, strict=True)]
        parts.append(
            _section(
                "difference", "A beside B", "", tag("div", differences(compared, figures), class_="card")
            )
        )
        navigation.append(("difference", "A beside B"))
    parts.append(_section("checks", "Checks", "", _sides(labels, [_card(one.checks()) for one in verdicts])))
    parts.append(_section("flows", "Flows", "", _sides(labels, [_card(one.flows()) for one in verdicts])))
    navigation += [("checks", "Checks"), ("flows", "Flows")]
    for name, heading, hint in _PARTS:
        places = [tag("div", id=f"{name}-{index}", class_="card") for index in range(len(runs))]
        parts.append(_section(name, heading, hint, _sides(labels, places)))
        navigation.append((name, heading))
    parts.append(_section("run", "What was run", "", _sides(labels, [_card(one.run()) for one in verdicts])))
    navigation.append(("run", "Run"))
    curves = [resource_curves(evidence.events) for _, evidence, _ in runs]
    if any(curves):
        hint = "What each program and each node's kernel held at every look; what grew most stands first."
        parts.append(_section("resources", "Resources", hint, _sides(labels, [_card(one) for one in curves])))
        navigation.append(("resources", "Resources"))
    style, script = asset("report.css"), "\n".join(asset(f"{name}.js") for name in SCRIPTS)
    content = string.Template(asset("page.html")).substitute(
        policy=text(policy(style, script)),
        title=text(f"Hopbed · {title}"),
        style=style,
        navigation=join(*(tag("a", heading, href=f"#{name}") for name, heading in navigation)),
        body=join(_without_script(), *parts),
        footer=_footer(runs[0][1].run.versions),
        data=json_script("data", {"sides": values}),
        script=script,
    )
    return content.encode(errors="replace")


def _sides(labels: Sequence[str], contents: Sequence[Markup], *, heading: bool = True) -> Markup:
    """The same part of each run, beside each other where there are two and where there is room."""
    if len(contents) == 1:
        return tag("div", contents[0], class_="sides")
    places = []
    for letter, label, content in zip("AB", labels, contents, strict=True):
        mark = tag("p" if heading else "div", tag("b", letter), label, class_="side-label")
        places.append(tag("div", mark, content))
    return tag("div", *places, class_="sides two")


def _section(name: str, heading: str, hint: str, content: Markup) -> Markup:
    told = tag("p", hint, class_="hint") if hint else Markup()
    return tag("section", tag("h2", heading), told, content, id=name)


def _card(content: Markup) -> Markup:
    return tag("div", content, class_="card")


def _without_script() -> Markup:
    told = (
        "Without JavaScript this page has the verdict, the checks and the flows, but no timeline or ladder."
    )
    return tag("noscript", tag("p", told, class_="hint"))


def _footer(versions: Mapping[str, str]) -> Markup:
    made = versions.get("hopbed", "")
    return join(
        f"Made from the evidence folder alone by Hopbed {made}. Times are seconds since the run began, on the"
        " clock that all nodes share; packet numbers are those that Wireshark shows."
    )
