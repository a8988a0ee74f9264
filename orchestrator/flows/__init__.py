"""Probe flows between nodes: started side by side, stopped without losing a tail, read as evidence."""

from orchestrator.flows.result import FlowResult
from orchestrator.flows.running import Flows, run_flows
from orchestrator.flows.spec import FlowSpec, Transport

__all__ = ["FlowResult", "FlowSpec", "Flows", "Transport", "run_flows"]
