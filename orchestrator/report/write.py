"""Writes reports into evidence folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from orchestrator.evidence.folder import write_whole
from orchestrator.evidence.read import read_evidence
from orchestrator.report.difference_section import Figure
from orchestrator.report.page import render, render_comparison

REPORT = "report.html"


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write the report of one run into its evidence folder, or to ``output``; return its path.

    Raises:
        UsageError: the folder is no evidence, or a file of it is not what its name says.
        OSError: it cannot be written.
    """
    path = output or folder / REPORT
    base = "" if output is None else _base(path, folder)
    write_whole(path, render(read_evidence(folder), base=base))
    return path


def write_comparison(
    path: Path, a: Path, b: Path, *, labels: tuple[str, str], figures: Sequence[Figure] = ()
) -> Path:
    """Write the report of two runs beside each other to ``path``, which is returned.

    Raises:
        UsageError: a folder is no evidence, or a file of it is not what its name says.
        OSError: it cannot be written.
    """
    bases = (_base(path, a), _base(path, b))
    page = render_comparison(read_evidence(a), read_evidence(b), labels=labels, bases=bases, figures=figures)
    write_whole(path, page)
    return path


def _base(page: Path, evidence: Path) -> str:
    """From the page's folder to the evidence's, with a slash at the end."""
    return f"{os.path.relpath(evidence.resolve(), page.resolve().parent)}/"
