"""Why a negotiation did not end as asked: the reason in charon's own words, picked from its log lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST_LINES = 4
"""How many log lines a reason quotes at most."""

_TELLING = re.compile(
    r"error|fail|invalid|mismatch|no .*found|not found|unable|could not|giving up|not respond|retransmit \d"
    r"|received [A-Z_]+ notify|received DELETE|unacceptable|unsupported|no trusted|reject|expired",
    re.IGNORECASE,
)
_EMPTY_TALK = re.compile(
    r"^(parsed|generating) |^message parsing failed$|processing failed$|^failed to establish CHILD_SA"
)
_NUMBER = re.compile(r"\d+")


def reason(lines: Sequence[str]) -> str:
    """The last lines that tell why, joined; empty where none tells.

    Lines that differ in numbers only, such as those of retransmissions, are told once, by the last of them.
    """
    telling: dict[str, str] = {}
    for line in lines:
        if _TELLING.search(line) and not _EMPTY_TALK.search(line):
            telling[_NUMBER.sub("#", line)] = line
    return "; ".join(list(telling.values())[-MOST_LINES:])


def failure(what: str, lines: Sequence[str]) -> str:
    """``what`` did not work, with the reason from ``lines`` if they tell one."""
    why = reason(lines)
    return f"{what}: {why}" if why else what
