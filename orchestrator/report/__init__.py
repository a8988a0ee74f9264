"""The report: one self-contained HTML page, made from an evidence folder alone. See ``docs/report.md``."""

from orchestrator.report.difference_section import Figure
from orchestrator.report.page import render, render_comparison

__all__ = ["Figure", "render", "render_comparison"]
