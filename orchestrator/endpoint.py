"""The IKEv1 endpoint of ours, as a script sees it: the methods of :mod:`nodes.ike`, typed."""

from __future__ import annotations

from nodes.ike.model import IkeConnection, Status
from nodes.peer import model
from orchestrator.control import ControlClient


class Endpoint:
    """The endpoint of one node. Each method raises what the node raised, as the same type."""

    def __init__(self, control: ControlClient) -> None:
        self._control = control

    async def status(self) -> Status:
        """What carries its ESP, how it behaves and how it fares."""
        return await self._control.call("ike.status", None, Status)

    async def load(self, connection: model.Connection | IkeConnection) -> model.Loaded:
        """Load a connection with its secret; a peer's is taken with the endpoint's own timing."""
        return await self._control.call("ike.load", connection, model.Loaded)

    async def unload(self, name: str) -> None:
        """Forget a connection; SAs that are up stay up."""
        await self._control.call("ike.unload", model.Unload(name=name), type(None))

    async def initiate(
        self, connection: str, child: str | None = None, *, timeout: float = 60.0
    ) -> model.Initiated:
        """Negotiate until the CHILD_SA is installed.

        Raises:
            NegotiationError: it was not, for the reason in the text.
        """
        asked = model.Initiate(connection=connection, child=child, timeout=timeout)
        return await self._control.call("ike.initiate", asked, model.Initiated)

    async def rekey(self, selector: model.Rekey) -> model.Rekeyed:
        """Rekey an SA; return when the new one is in place on this side.

        Raises:
            NegotiationError: it did not come to be, for the reason in the text.
        """
        return await self._control.call("ike.rekey", selector, model.Rekeyed)

    async def terminate(self, selector: model.Terminate) -> int:
        """Delete SAs; return how many went."""
        return (await self._control.call("ike.terminate", selector, model.Terminated)).terminated

    async def list_sas(self) -> list[model.IkeSa]:
        """The IKE SAs with their CHILD_SAs."""
        return await self._control.call("ike.sas", None, list[model.IkeSa])
