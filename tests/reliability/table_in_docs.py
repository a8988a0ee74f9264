"""Puts a table between its markers in ``docs/reliability.md``, with the date and the command that made it."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def made_by(command: str) -> str:
    """The line below a table: when, on what, by which command."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    engine = subprocess.run(
        ["docker", "version", "--format", ", Docker Engine {{.Server.Version}}"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip("\n")
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB, kernel {platform.release().split('-')[0]}{engine}"
    return f"{today}, {machine}; `{command}`"


def command_of(target: str) -> str:
    """The make command that this process is."""
    return f"make {target}" + (f" ARGS='{shlex.join(sys.argv[1:])}'" if sys.argv[1:] else "")


def write_table(name: str, table: str, page: Path = PAGE) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->``.

    Raises:
        ValueError: the page has no such place.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found_begin, rest = page.read_text().partition(begin)
    _old, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"{page} has no place for {name}")
    page.write_text(f"{before}{begin}\n{table.strip()}\n\n{end}{after}")
