"""The probes of the machine as a whole: versions, room, and what other runs left behind."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

from nodes.errors import HopbedError
from orchestrator.doctor.finding import Finding, Need
from orchestrator.runtimes.choose import all_runs
from orchestrator.runtimes.docker.run_folder import all_run_folders

_FREE_NEEDED = 1 << 30
"""Octets."""


async def disk() -> Finding:
    """Whether there is room for evidence in the current folder."""
    free = shutil.disk_usage(Path.cwd()).free
    return Finding(
        name="disk",
        purpose="captures and reports",
        need=Need.OPTIONAL,
        present=free >= _FREE_NEEDED,
        detail=f"{free / (1 << 30):.1f} GiB free in {Path.cwd()}",
        lost="evidence of long runs",
        mend="free some room, or name another folder with --out",
    )


async def system() -> Finding:
    """The versions that a bug report needs."""
    return Finding(
        name="system",
        purpose="bug reports",
        need=Need.OPTIONAL,
        present=True,
        detail=f"Linux {platform.release()} {platform.machine()}, Python {platform.python_version()}",
        lost="",
        mend="",
    )


async def leftovers() -> Finding:
    """Whether runs whose owner is gone left something; runs that are up on purpose are only told of.

    To look is to sweep: what nobody answers for goes now, as before every other command. So what is found
    here is what could not be removed.
    """
    try:
        runs = await all_runs()
        abandoned = [
            folder.path for folder in all_run_folders() if folder.owner is not None and folder.owner.is_gone()
        ]
        left = [str(path) for path in abandoned if path.name not in {run.run_id for run in runs}]
        up = ", ".join(f"{run.run_id} ({run.runtime})" for run in runs)
        detail = f"left behind: {', '.join(left)}" if left else f"none; up now: {up or 'no run'}"
    except (HopbedError, OSError) as error:
        left, detail = ["?"], str(error)
    return Finding(
        name="leftovers",
        purpose="a clean machine",
        need=Need.OPTIONAL,
        present=not left,
        detail=detail,
        lost="certainty that no run meets another",
        mend="hopbed down --all",
        fix=((sys.executable, "-m", "orchestrator", "down", "--all"),),
    )
