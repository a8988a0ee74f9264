"""The IKEv1 endpoint of ours, as a script sees it: the methods of :mod:`nodes.ike`, typed."""

from __future__ import annotations

from nodes.ike.model import IkeConnection, Status
from nodes.peer import model
from orchestrator.peer import TunnelEnd


class Endpoint(TunnelEnd):
    """The endpoint of one node."""

    prefix = "ike"
    list_method = "sas"

    async def status(self) -> Status:
        """What carries its ESP, how it behaves and how it fares."""
        return await self._control.call("ike.status", None, Status)

    async def load(self, connection: model.Connection | IkeConnection) -> model.Loaded:
        """Load a connection with its secret; a peer's is taken with the endpoint's own timing."""
        return await self._control.call("ike.load", connection, model.Loaded)
