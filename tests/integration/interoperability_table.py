"""The table of what interoperates, as it stands in the documents: written by the test that finds it out."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path

from interoperability import STEPS

TABLE = Path(__file__).parents[2] / "docs" / "sa-negotiation-interoperability.md"
COLUMNS = ("initiator", "group", "ESP", "PFS", *STEPS)
_SECTION = re.compile(r"^## strongSwan (\S+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
HEAD = """\
# The IKEv1 endpoint and strongSwan

What comes of every combination of the endpoint (`nodes/ike`, early timing) with an unmodified strongSwan,
by IKEv1 with a pre-shared key and AES-CBC with HMAC-SHA-256 for the IKE SA. ESP is in UDP by force, as
behind a NAT, and both move to port 4500 (RFC 3947, 3948). `make interoperability` writes this page; the test
suite runs the same, and fails if the results are not these.

Each row is one connection: the tunnel is negotiated, traffic goes both ways, either side rekeys and traffic
goes again, the initiator deletes every CHILD_SA, the responder the IKE SA, and at last the initiator asks
its silent partner for life (DPD). That the algorithms, the groups and PFS are those that were asked for is
checked at both ends.
"""

Results = Mapping[tuple[str, ...], Mapping[str, str]]


def series(version: str) -> str:
    """The series of a release: ``6.0`` of ``6.0.1``."""
    return ".".join(version.split(".")[:2])


def read(text: str) -> dict[str, dict[tuple[str, ...], dict[str, str]]]:
    """The results that a page holds, by the series of strongSwan."""
    found: dict[str, dict[tuple[str, ...], dict[str, str]]] = {}
    for heading, body in _SECTION.findall(text):
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in re.findall(r"^\|.*\|$", body, re.MULTILINE)
        ]
        named = len(COLUMNS) - len(STEPS)
        found[series(heading)] = {
            tuple(row[:named]): dict(zip(STEPS, row[named:], strict=True)) for row in rows[2:]
        }
    return found


def section(version: str, setting: str, results: Results) -> str:
    """A release's part of the page."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join([*row, *steps.values()])} |" for row, steps in results.items()]
    return "\n".join([f"## strongSwan {version}", "", f"{setting}, {date}.", "", *lines, ""])


def with_section(text: str, version: str, new: str) -> str:
    """A page with the part of one series in place of the one that it had; the parts are in their order."""
    parts = dict(_SECTION.findall(text))
    kept = {heading: body for heading, body in parts.items() if series(heading) != series(version)}
    sections = {heading: f"## strongSwan {heading}\n{body.rstrip()}\n" for heading, body in kept.items()}
    sections[version] = new
    return "\n".join([HEAD, *(sections[heading] for heading in sorted(sections))])
