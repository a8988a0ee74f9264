"""Abnormal IKE negotiations on purpose: the ends of a tunnel set up so that they fail in one exact way."""

from orchestrator.breaking.breakage import CONNECTION, Breakage, clear, mend
from orchestrator.breaking.kinds import Kind, Side, kind_of, side_of

__all__ = ["CONNECTION", "Breakage", "Kind", "Side", "clear", "kind_of", "mend", "side_of"]
