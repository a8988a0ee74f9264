"""``junit.xml``: a verdict for continuous integration, one test case a check."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

from orchestrator.evidence.verdict import Check, Outcome, Verdict

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(verdict: Verdict, *, started: str, duration_s: float) -> bytes:
    """The verdict as JUnit XML, in the dialect that pytest writes.

    A check that is inconclusive is an error there, as the format knows no third way: it must not look passed.

    Args:
        started: when the run began, RFC 3339.
        duration_s: how long it took.
    """
    outcomes = [check.outcome for check in verdict.checks]
    failures = outcomes.count(Outcome.FAIL)
    attributes = {
        "name": f"hopbed.{verdict.scenario}",
        "tests": str(len(outcomes)),
        "failures": str(failures),
        "errors": str(len(outcomes) - failures - outcomes.count(Outcome.PASS)),
        "skipped": "0",
        "time": f"{duration_s:.3f}",
        "timestamp": started,
    }
    suites = ElementTree.Element("testsuites", name="hopbed")
    suite = ElementTree.SubElement(suites, "testsuite", attributes)
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(verdict).items():
        ElementTree.SubElement(properties, "property", name=name, value=_text(value))
    for check in verdict.checks:
        _add_case(suite, verdict.scenario, check)
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"


def _properties(verdict: Verdict) -> dict[str, object]:
    known: dict[str, object] = {"outcome": verdict.outcome.value, "seed": verdict.seed}
    known |= {"runtime": verdict.runtime, "dataplane": verdict.dataplane, "dad": verdict.dad}
    return known | {f"parameter.{name}": value for name, value in verdict.parameters.items()}


def _add_case(suite: ElementTree.Element, scenario: str, check: Check) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=f"hopbed.{scenario}", name=_text(check.name), time="0"
    )
    if check.outcome is not Outcome.PASS:
        kind = "failure" if check.outcome is Outcome.FAIL else "error"
        message = f"expected {_text(check.expected)}, measured {_text(check.measured)}"
        ElementTree.SubElement(case, kind, type=check.outcome.value, message=message).text = message


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _NOT_XML.sub("\ufffd", text)
