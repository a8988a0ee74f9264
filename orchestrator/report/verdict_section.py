"""The page's first part: the verdict, its checks, its flows, and what was run. It needs no script."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from orchestrator.evidence.read import ReadEvidence
from orchestrator.evidence.verdict import Check
from orchestrator.report.markup import Markup, join, tag, text, words

MARKS = {"pass": "✓", "fail": "✗", "error": "!", "inconclusive": "?", "none": "?"}


def outcome_badge(outcome: str) -> Markup:
    """An outcome as a sign, a word and a colour."""
    sign = tag("span", MARKS.get(outcome, "?"), aria_hidden="true")
    return tag("span", sign, " ", "no verdict" if outcome == "none" else outcome, class_=f"outcome {outcome}")


def packet_link(file: str | None, number: int, *, last: int | None = None, keys: str | None = None) -> Markup:
    """The number of a packet, or of the first and the last of several, as a link to its capture."""
    shown = f"#{number}" if last in (None, number) else f"#{number}–{last}"
    if file is None:
        return text(shown)
    return tag(
        "a",
        shown,
        class_="packet",
        href=quote(file),
        data_file=file,
        data_packet=number,
        data_last=last,
        data_keys=keys,
    )


class VerdictSection:
    """The verdict of one run as HTML.

    Args:
        evidence: the run's.
        values: what :func:`~orchestrator.report.side.side` says of it.
        index: of the run on the page.
        base: from the page's folder to the evidence's, empty or with a slash at its end.
    """

    def __init__(self, evidence: ReadEvidence, values: Mapping[str, Any], *, index: int, base: str) -> None:
        self._evidence = evidence
        self._values = values
        self._index = index
        self._base = base
        self._file = None if values["capture"] is None else base + values["capture"]
        self._keys = f"{base}keys" if values["keys"] else None

    def header(self) -> Markup:
        """The outcome with what it is about, and what is missing from the evidence."""
        verdict, run = self._evidence.verdict, self._evidence.run
        outcome = "none" if verdict is None else verdict.outcome.value
        return tag(
            "section",
            tag("h1", text(run.scenario), outcome_badge(outcome)),
            tag("p", self._lead(), class_="lead"),
            self._gaps(),
            tag("dl", *self._facts(), class_="facts"),
            class_=f"card verdict {outcome}",
        )

    def _lead(self) -> str:
        verdict = self._evidence.verdict
        if verdict is None:
            return "The run was killed, or is not over: what is known of it follows, without a judgement."
        bad = [check.name for check in verdict.checks if check.outcome.value != "pass"]
        flows = verdict.flows
        words = [f"All {len(verdict.checks)} checks passed." if not bad else f"Not passed: {', '.join(bad)}."]
        if flows:
            lost, sent = sum(flow.lost for flow in flows), sum(flow.sent for flow in flows)
            longest = max(flow.longest_gap_ms for flow in flows)
            words.append(
                f"{lost:,} of {sent:,} probes lost on {len(flows)} flows, longest gap {longest:,.1f} ms."
            )
        return " ".join(words)

    def _gaps(self) -> Markup:
        gaps = self._evidence.gaps
        if not gaps:
            return Markup()
        listed = tag("ul", *(tag("li", gap) for gap in gaps))
        return tag("div", tag("p", "The evidence is not whole"), listed, class_="gaps", role="note")

    def _facts(self) -> list[Markup]:
        verdict, run = self._evidence.verdict, self._evidence.run
        facts: list[tuple[str, str, str]] = []
        if verdict is not None:
            facts += [
                ("Runtime", verdict.runtime, ""),
                ("Data plane", verdict.dataplane, "carried ESP"),
                ("DAD", verdict.dad, ""),
                ("Packets captured", f"{verdict.capture.packets:,}", f"{verdict.capture.dropped:,} dropped"),
            ]
        began, took = _times(run.started, run.ended)
        facts += [("Began", began, took), ("Seed", str(run.seed), "replays every random choice")]
        return [tag("div", tag("dt", name), tag("dd", value, *_small(note))) for name, value, note in facts]

    def checks(self) -> Markup:
        """The checks, expected beside measured."""
        verdict = self._evidence.verdict
        if verdict is None or not verdict.checks:
            return tag("p", "No check is known.", class_="soft")
        return table(("", "Check", "Expected", "Measured"), [self._check(check) for check in verdict.checks])

    def _check(self, check: Check) -> Markup:
        return tag(
            "tr",
            tag("td", outcome_badge(check.outcome.value), class_="sign"),
            tag("th", check.name, scope="row"),
            tag("td", self._value(check.expected), data_label="expected"),
            tag("td", self._value(check.measured), data_label="measured"),
            class_="check",
        )

    def _value(self, value: Any, *, inline: bool = False, place: str | None = None) -> Markup:
        """A JSON value in words; packets as links to them, in the capture of ``place`` or the bridge's."""
        if isinstance(value, dict):
            if isinstance(value.get("packets"), int):
                return self._packets(value, place)
            if inline and not any(isinstance(item, dict | list) for item in value.values()):
                return join(
                    *_between(" · ", [join(f"{name} ", self._value(item)) for name, item in value.items()])
                )
            named = (
                join(tag("dt", name), tag("dd", self._value(item, inline=True, place=self._place(name))))
                for name, item in value.items()
            )
            return tag("dl", *named, class_="value")
        if isinstance(value, list):
            return join(*_between(", ", [self._value(item) for item in value])) if value else text("none")
        return text(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else words(value))

    def _place(self, name: str) -> str | None:
        """Where packets were seen, if what a check calls them ends with the place: ``leaving peer-a``."""
        what, _, place = name.rpartition(" ")
        return place if what and place in self._evidence.run.captures else None

    def _packets(self, value: Mapping[str, Any], place: str | None) -> Markup:
        file = value.get("file")
        if file is None and place is not None:
            file = self._evidence.run.captures[place].file
        capture = self._base + file if isinstance(file, str) else self._file
        count = value["packets"]
        parts: list[object] = [f"{count:,} packet{'' if count == 1 else 's'}"]
        numbers = [one for one in value.get("first", ()) if isinstance(one, int)]
        links = [packet_link(capture, number, keys=self._keys) for number in numbers]
        if links:
            parts += [": ", *_between(" ", links)]
        if isinstance(value.get("last"), int) and value["last"] not in numbers:
            parts += [" … ", packet_link(capture, value["last"], keys=self._keys)]
        return join(*parts)

    def flows(self) -> Markup:
        """The flows, and the interruptions of each."""
        flows = self._values["flows"]
        if not flows:
            return tag("p", "No traffic was measured.", class_="soft")
        columns = ("Flow", "From", "To", "Sent", "Received", "Lost", "Longest gap", "Delay p50 · p99 · max")
        rows = [self._flow(flow) for flow in flows]
        return join(table(columns, rows, numeric=range(3, 8)), self._interruptions(flows))

    def _flow(self, flow: Mapping[str, Any]) -> Markup:
        def cell(label: str, value: Any) -> Markup:
            shown = "–" if value is None else f"{value:,}" if isinstance(value, int) else value
            return tag("td", shown, class_="num", data_label=label)

        longest, delay = flow["longest"], flow["delay"]
        return tag(
            "tr",
            tag("th", flow["name"], scope="row"),
            tag("td", flow["source"] or "–", data_label="from"),
            tag("td", flow["destination"] or "–", data_label="to"),
            cell("sent", flow["sent"]),
            cell("received", flow["received"]),
            cell("lost", flow["lostTotal"]),
            cell("longest gap", None if longest is None else f"{longest:,.1f} ms"),
            cell(
                "delay p50 · p99 · max",
                None if delay is None else " · ".join(f"{ms:,.2f}" for ms in delay) + " ms",
            ),
        )

    def _interruptions(self, flows: Sequence[Mapping[str, Any]]) -> Markup:
        rows = [self._interruption(flow, one) for flow in flows for one in flow["interruptions"]]
        title = tag("h3", "Interruptions")
        if not rows:
            return join(title, tag("p", "None.", class_="soft"))
        total = sum(flow["total"] for flow in flows)
        columns = ("Flow", "From", "Lasted", "Lost", "After the event", "Packets meanwhile", "")
        listed = table(columns, rows, numeric=(1, 2, 3))
        if total > len(rows):
            listed = join(listed, tag("p", f"The longest of {total:,} are shown.", class_="hint"))
        return join(title, listed if len(rows) <= 24 else _folded(f"{len(rows)} interruptions", listed))

    def _interruption(self, flow: Mapping[str, Any], one: Mapping[str, Any]) -> Markup:
        start, end = one["start"], one["end"]
        found = one.get("packets")
        where = packet_link(self._file, found[0], last=found[1], keys=self._keys) if found else text("none")
        show = tag(
            "button",
            "Show",
            type="button",
            hidden=True,
            data_zoom=f"{start} {end}",
            data_side=self._index,
            aria_label=f"Show the interruption of {flow['name']} at {start / 1000:.3f} s in the timeline",
        )
        return tag(
            "tr",
            tag("th", flow["name"], scope="row"),
            tag("td", f"{start / 1000:.3f} s", class_="num", data_label="from"),
            tag("td", f"{end - start:,.1f} ms", class_="num", data_label="lasted"),
            tag("td", f"{one['lost']:,}", class_="num", data_label="lost"),
            tag("td", one["cause"] or "no known event", data_label="after the event"),
            tag("td", where, data_label="packets meanwhile"),
            tag("td", show),
        )

    def run(self) -> Markup:
        """What was run: parameters, the command, captures and versions."""
        run = self._evidence.run
        parts: list[object] = [
            tag("h3", "Parameters"),
            pairs(run.parameters),
            tag("h3", "The same run again"),
            command(run.command_line),
        ]
        if self._keys is not None and self._file is not None:
            parts += [
                tag("h3", "The capture, decrypted"),
                command(
                    f"WIRESHARK_CONFIG_DIR={shlex.quote(self._keys)} wireshark -r {shlex.quote(self._file)}"
                ),
            ]
        parts += [tag("h3", "Captures"), self._captures(), tag("h3", "Versions"), pairs(run.versions)]
        return join(*parts)

    def _captures(self) -> Markup:
        captures = self._evidence.run.captures
        if not captures:
            return tag("p", "Nothing is known of them.", class_="soft")
        rows = [
            tag(
                "tr",
                tag("th", place, scope="row"),
                tag("td", tag("a", capture.file, href=quote(self._base + capture.file)), data_label="file"),
                tag("td", f"{capture.packets:,}", class_="num", data_label="packets"),
                tag("td", f"{capture.dropped:,}", class_="num", data_label="dropped"),
                tag(
                    "td",
                    "yes" if all(one.marked for one in capture.interfaces) else "not proven",
                    data_label="whole to its end",
                ),
            )
            for place, capture in captures.items()
        ]
        columns = ("Place", "File", "Packets", "Dropped", "Whole to its end")
        return table(columns, rows, numeric=(2, 3))


def table(columns: Sequence[str], rows: Sequence[Markup], *, numeric: Sequence[int] = ()) -> Markup:
    """A table that becomes a stack of cards where there is little room."""
    heads = [
        tag("th", name, scope="col", class_="num" if number in numeric else None)
        for number, name in enumerate(columns)
    ]
    whole = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="stack")
    return tag("div", whole, class_="scroll")


def pairs(values: Mapping[str, Any]) -> Markup:
    """Names and values."""
    rows = (tag("div", tag("dt", name), tag("dd", words(value))) for name, value in values.items())
    return tag("dl", *rows, class_="pairs")


def command(line: str) -> Markup:
    """A command line that can be copied."""
    return tag(
        "div", tag("code", line), tag("button", "Copy", type="button", data_copy=line), class_="command"
    )


def _folded(title: str, content: Markup) -> Markup:
    return tag("details", tag("summary", title), content)


def _small(note: str) -> list[Markup]:
    return [tag("small", note)] if note else []


def _between(separator: str, items: Sequence[Markup]) -> list[object]:
    parts: list[object] = []
    for item in items:
        parts += [separator, item] if parts else [item]
    return parts


def _times(started: str, ended: str) -> tuple[str, str]:
    try:
        begin = datetime.datetime.fromisoformat(started)
    except ValueError:
        return started or "–", ""
    began = begin.strftime("%Y-%m-%d %H:%M:%S %Z")
    try:
        took = (datetime.datetime.fromisoformat(ended) - begin).total_seconds()
    except (ValueError, TypeError):
        return began, "not over, or killed"
    return began, f"took {took:,.1f} s"
