"""Whether a flow went on: what was lost, and when nothing came. A pure core; see ``docs/continuity.md``."""

from orchestrator.continuity.arithmetic import STALL_MS, continuity
from orchestrator.continuity.flow_logs import ReceivedLog, SentLog, read_received, read_sent
from orchestrator.continuity.result import Continuity, Delay, Interruption

__all__ = [
    "STALL_MS",
    "Continuity",
    "Delay",
    "Interruption",
    "ReceivedLog",
    "SentLog",
    "continuity",
    "read_received",
    "read_sent",
]
