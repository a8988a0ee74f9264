"""The command line: ``hopbed`` and its verbs."""

from __future__ import annotations

import click

from orchestrator.cli.again import bundle, replay, report
from orchestrator.cli.bed import down, exec_, ps, shell, up
from orchestrator.cli.break_ import break_
from orchestrator.cli.capture import capture
from orchestrator.cli.demo import demo
from orchestrator.cli.doctor import doctor
from orchestrator.cli.fault import fault
from orchestrator.cli.hop import hop
from orchestrator.cli.impair import impair
from orchestrator.cli.rekey import rekey
from orchestrator.cli.scenario import ab, list_, run
from orchestrator.cli.watch import watch


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="hopbed")
def hopbed() -> None:
    """A testbed for moving, encrypted IPv6 traffic, with a verdict that has packets as evidence.

    Exit status: 0 pass · 1 verdict failed · 2 usage · 3 the machine lacks something (`hopbed doctor` says
    what) · 4 a node failed · 5 clean-up failed · 130/143 ended by a signal.
    """


_ON_A_RUN = (up, down, ps, watch, exec_, shell, capture, fault, impair, hop, rekey, break_)
_OF_SCENARIOS = (run, ab, demo, list_, replay, report, bundle, doctor)
for _verb in (*_ON_A_RUN, *_OF_SCENARIOS):
    hopbed.add_command(_verb)


def main() -> None:
    """The entry point of the console script."""
    hopbed()
