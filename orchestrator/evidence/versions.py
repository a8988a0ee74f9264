"""The versions of what takes part in a run on the orchestrator's side."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
from pathlib import Path

_PACKAGE = "hopbed"
_CHECKOUT = Path(__file__).resolve().parents[2]


def versions() -> dict[str, str]:
    """Hopbed, and the commit in a checkout; the kernel, Python, and the packages that Hopbed needs."""
    found = {"kernel": f"{platform.system()} {platform.release()}", "python": platform.python_version()}
    commit = _commit()
    if commit:
        found["commit"] = commit
    try:
        found[_PACKAGE] = importlib.metadata.version(_PACKAGE)
        required = importlib.metadata.requires(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return found
    for requirement in required:
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        if "extra ==" not in requirement:
            found[name] = importlib.metadata.version(name)
    return found


def _commit() -> str | None:
    """What ``git describe`` calls the checkout that this runs from, if it is one."""
    if not (_CHECKOUT / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(_CHECKOUT), "describe", "--always", "--dirty", "--tags"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
