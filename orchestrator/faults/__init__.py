"""Faults on the wire: rules in words, put in force on the nodes of a running testbed."""

from orchestrator.faults.checks import checks_of
from orchestrator.faults.engine import FaultEngine, FaultTotal, faults
from orchestrator.faults.rules import check_rules

__all__ = ["FaultEngine", "FaultTotal", "check_rules", "checks_of", "faults"]
