"""A strongSwan peer, as a script sees it: the methods of :mod:`nodes.peer`, typed."""

from __future__ import annotations

from typing import ClassVar

from nodes.peer import model
from orchestrator.control import ControlClient


class TunnelEnd:
    """What a strongSwan peer and the IKEv1 endpoint have in common, so that either may be a tunnel's end.

    Each method raises what the node raised, as the same type.
    """

    prefix: ClassVar[str]
    """What the names of the role's methods begin with."""
    list_method: ClassVar[str]

    def __init__(self, control: ControlClient) -> None:
        self._control = control

    async def load(self, connection: model.Connection) -> model.Loaded:
        """Load a connection with its secret."""
        return await self._control.call(f"{self.prefix}.load", connection, model.Loaded)

    async def unload(self, name: str) -> None:
        """Forget a connection; SAs that are up stay up."""
        await self._control.call(f"{self.prefix}.unload", model.Unload(name=name), type(None))

    async def initiate(
        self, connection: str, child: str | None = None, *, timeout: float = 60.0
    ) -> model.Initiated:
        """Negotiate until the CHILD_SA is installed.

        Raises:
            NegotiationError: it was not, for the reason in the text.
        """
        asked = model.Initiate(connection=connection, child=child, timeout=timeout)
        return await self._control.call(f"{self.prefix}.initiate", asked, model.Initiated)

    async def rekey(self, selector: model.Rekey) -> model.Rekeyed:
        """Rekey an SA; return when the new one is in place on this side.

        Raises:
            NegotiationError: it did not come to be, for the reason in the text.
        """
        return await self._control.call(f"{self.prefix}.rekey", selector, model.Rekeyed)

    async def terminate(self, selector: model.Terminate) -> int:
        """Delete SAs; return how many went."""
        return (await self._control.call(f"{self.prefix}.terminate", selector, model.Terminated)).terminated

    async def list_sas(self) -> list[model.IkeSa]:
        """The IKE SAs with their CHILD_SAs."""
        return await self._control.call(f"{self.prefix}.{self.list_method}", None, list[model.IkeSa])


class Peer(TunnelEnd):
    """The charon of one node."""

    prefix = "peer"
    list_method = "list_sas"

    async def status(self) -> model.Status:
        """What charon is and how it fares."""
        return await self._control.call("peer.status", None, model.Status)

    async def list_conns(self) -> list[model.LoadedConnection]:
        """The loaded connections."""
        return await self._control.call("peer.list_conns", None, list[model.LoadedConnection])

    async def counters(self) -> dict[str, int]:
        """charon's counters of IKE messages and events."""
        return (await self._control.call("peer.counters", None, model.Counters)).counters
