"""What the faults of a run mean for its verdict. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.evidence.verdict import Check, Outcome
from orchestrator.faults.engine import FaultTotal


def checks_of(totals: Iterable[FaultTotal], died: Mapping[str, str]) -> list[Check]:
    """A check for each fault, that it matched, and one that the engines lasted; else *inconclusive*.

    Args:
        totals: of the faults.
        died: why an engine died, by node.
    """
    checks = [
        Check(
            name=f"fault: {total.text}",
            expected="matched",
            measured=f"matched {total.matched} time{'s' * (total.matched != 1)}",
            outcome=Outcome.PASS if total.matched else Outcome.INCONCLUSIVE,
        )
        for total in totals
    ]
    if checks:
        checks.append(
            Check(
                name="the fault engine lasted",
                expected="to the end of the run",
                measured={node: f"died: {text}" for node, text in died.items()} or "to the end of the run",
                outcome=Outcome.INCONCLUSIVE if died else Outcome.PASS,
            )
        )
    return checks
