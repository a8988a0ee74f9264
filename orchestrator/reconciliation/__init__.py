"""Application evidence against packet evidence: the flow logs of both ends, and the captures at both nodes.

What decides is without I/O: :mod:`~orchestrator.reconciliation.datagrams` and
:mod:`~orchestrator.reconciliation.stream` find a flow's probes in a capture, over UDP and over TCP, and
:mod:`~orchestrator.reconciliation.agreement` compares them with what the applications say.
:mod:`~orchestrator.reconciliation.reconcile` reads the files and makes a check of each flow.
"""

from orchestrator.reconciliation.reconcile import Reconciled, reconcile

__all__ = ["Reconciled", "reconcile"]
