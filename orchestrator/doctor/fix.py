"""Mends what an examination found missing, with the commands that its findings name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable

import anyio
import msgspec

from orchestrator.doctor.finding import Finding

Ask = Callable[[str], bool]
Say = Callable[[str], None]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One command, and the names of the findings that it mends."""

    argv: tuple[str, ...]
    mends: tuple[str, ...]


def steps(findings: Iterable[Finding], *, is_root: bool, sudo: str | None) -> list[Step]:
    """What to run for the findings that are not present: each command once, in the order of the findings.

    Without root a command goes through ``sudo``, save our own, which act as the user; without ``sudo`` too
    it is left out.
    """
    mended: dict[tuple[str, ...], list[str]] = {}
    for finding in findings:
        if not finding.present:
            for argv in finding.fix:
                mended.setdefault(argv, []).append(finding.name)
    found = []
    for argv, names in mended.items():
        is_ours = any(word.startswith("orchestrator") for word in argv)
        if not (is_root or is_ours):
            if sudo is None:
                continue
            argv = (sudo, *argv)
        found.append(Step(argv=argv, mends=tuple(names)))
    return found


async def fix(findings: Iterable[Finding], ask: Ask, say: Say) -> None:
    """Run each step after asking; a step that fails is told, and the next is tried all the same."""
    todo = steps(findings, is_root=os.geteuid() == 0, sudo=shutil.which("sudo"))
    if not todo:
        say("nothing that a command could mend is missing")
    for step in todo:
        line = " ".join(step.argv)
        if not ask(f"for {', '.join(step.mends)}: run `{line}`?"):
            continue
        try:
            done = await anyio.run_process(step.argv, check=False, stdin=None, stdout=None, stderr=None)
        except OSError as error:
            say(f"{line}: {error.strerror}")
            continue
        if done.returncode:
            say(f"{line} ended with status {done.returncode}: {', '.join(step.mends)} is not mended")
