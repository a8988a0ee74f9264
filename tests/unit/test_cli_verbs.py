"""The command line's verbs, each imported when it is asked for."""

from __future__ import annotations

import subprocess
import sys

import click

from orchestrator.cli import hopbed

_ASK_FOR_PS = """
import sys, click
from orchestrator.cli import hopbed
hopbed.get_command(click.Context(hopbed), "ps")
print(*sys.modules)
"""


def test_every_verb_is_found_by_the_name_it_has() -> None:
    context = click.Context(hopbed)
    verbs = {name: hopbed.get_command(context, name) for name in hopbed.list_commands(context)}
    assert {name: verb.name for name, verb in verbs.items() if verb} == {name: name for name in verbs}


def test_an_unknown_verb_is_not_found() -> None:
    assert hopbed.get_command(click.Context(hopbed), "again") is None


def test_a_verb_of_a_run_that_is_up_waits_for_no_scenario_and_no_capture_to_be_imported() -> None:
    asked = subprocess.run([sys.executable, "-c", _ASK_FOR_PS], capture_output=True, text=True, check=True)
    imported = asked.stdout.split()
    assert "orchestrator.cli.bed" in imported
    assert not {"orchestrator.scenarios.catalogue", "numpy", "scapy"} & set(imported)
