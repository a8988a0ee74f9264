"""A plan as JSON, so that another process can find a run and take it up."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from nodes import errors
from orchestrator.topology.plan import RunPlan

_plan: TypeAdapter[RunPlan] = TypeAdapter(RunPlan)


def plan_to_json(plan: RunPlan) -> str:
    """The plan as a JSON document."""
    return _plan.dump_json(plan).decode()


def plan_from_json(document: str) -> RunPlan:
    """The plan that :func:`plan_to_json` wrote.

    Raises:
        ProtocolError: it is no such document, as after an upgrade below a running testbed.
    """
    try:
        return _plan.validate_json(document)
    except ValidationError as error:
        raise errors.ProtocolError(f"not the plan of a run: {error}") from error
