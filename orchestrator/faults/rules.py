"""Rules in words for the nodes of a run. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from nodes.faults.grammar import parse_all
from nodes.faults.rule import Rule
from orchestrator.topology.plan import RunPlan

INITIATOR = "INITIATOR"
RESPONDER = "RESPONDER"

Ends = tuple[str, str]
"""The nodes at the ends of the tunnel that faults are about: the initiator's name, and the responder's."""


def aliases(ends: Ends) -> Mapping[str, str]:
    """What else the ends are called in a rule."""
    return dict(zip((INITIATOR, RESPONDER), ends, strict=True))


def check_rules(
    texts: Sequence[str], nodes: Collection[str], ends: Ends, *, before: Sequence[Rule] = ()
) -> list[Rule]:
    """Read rules that are to act together, after those of ``before``.

    Args:
        texts: the rules in words.
        nodes: the names of the nodes that there will be.
        ends: of the tunnel.
        before: the rules that are in force already.

    Raises:
        ParameterError: one is no rule, or can never act because of one before it.
    """
    return parse_all(texts, nodes=nodes, aliases=aliases(ends), before=before)


def acts_at(rule: Rule, ends: Ends) -> tuple[str, ...]:
    """The nodes whose packets a rule acts on: its source, or the ends that it is not for."""
    if rule.source is not None:
        return (rule.source,)
    return tuple(end for end in ends if end != rule.destination)


def addresses(plan: RunPlan) -> dict[str, tuple[str, ...]]:
    """The addresses by which ``to NODE`` is told, by name."""
    return {node.name: (str(node.address.ip),) for node in plan.nodes}
