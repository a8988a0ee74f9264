"""The command line: ``hopbed`` and its verbs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

_VERBS: Mapping[str, str] = {
    "up": "bed:up",
    "down": "bed:down",
    "ps": "bed:ps",
    "watch": "watch:watch",
    "exec": "bed:exec_",
    "shell": "bed:shell",
    "capture": "capture:capture",
    "fault": "fault:fault",
    "impair": "impair:impair",
    "hop": "hop:hop",
    "rekey": "rekey:rekey",
    "break": "break_:break_",
    "run": "scenario:run",
    "ab": "scenario:ab",
    "demo": "demo:demo",
    "list": "scenario:list_",
    "replay": "again:replay",
    "report": "again:report",
    "bundle": "again:bundle",
    "doctor": "doctor:doctor",
}
"""Where each verb is: the module in this package, and its name there."""


class _Verbs(click.Group):
    """A group that imports a verb when it is asked for: ``ps`` does not wait for what ``run`` needs."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """The verbs' names, in the order of the alphabet."""
        return sorted(_VERBS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """The verb called ``name``, or nothing."""
        if name not in _VERBS:
            return None
        module, attribute = _VERBS[name].split(":")
        verb = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
        assert isinstance(verb, click.Command)
        return verb


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="hopbed")
def hopbed() -> None:
    """A testbed for moving, encrypted IPv6 traffic, with a verdict that has packets as evidence.

    Exit status: 0 pass · 1 verdict failed · 2 usage · 3 the machine lacks something (`hopbed doctor` says
    what) · 4 a node failed · 5 clean-up failed · 130/143 ended by a signal.
    """


def main() -> None:
    """The entry point of the console script."""
    hopbed()
