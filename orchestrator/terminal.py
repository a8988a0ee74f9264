"""A terminal whose address hops, as a script sees it: the methods of :mod:`nodes.terminal`, typed."""

from __future__ import annotations

from nodes.terminal import model
from orchestrator.control import ControlClient


class Terminal:
    """The terminal of one node. Each method raises what the node raised, as the same type."""

    def __init__(self, control: ControlClient) -> None:
        self._control = control

    async def pair(self, pair: model.Pair) -> None:
        """Share a secret with a partner; without one, nothing hops to or from it."""
        await self._control.call("terminal.pair", pair, type(None))

    async def link(self, link: model.Link) -> None:
        """Say which further prefixes are on the link, so that there is a way to partners in them."""
        await self._control.call("terminal.link", link, type(None))

    async def policy(self, policy: model.SetPolicy) -> None:
        """Say which services support address updating."""
        await self._control.call("terminal.policy", policy, type(None))

    async def schedule(self, schedule: model.Schedule) -> None:
        """Begin to hop; events tell of each hop.

        Raises:
            ParameterError: the times leave no room for a hop, a prefix is not on the link, or no secret.
        """
        await self._control.call("terminal.schedule", schedule, type(None))

    async def hop(self, hop: model.Hop | None = None) -> model.Hopped:
        """Hop once; return when the hop is closed.

        Raises:
            NodeError: it came to nothing; the services are on their first address.
        """
        return await self._control.call("terminal.hop", hop or model.Hop(), model.Hopped)

    async def status(self) -> model.Status:
        """The addresses with their lifetimes, the partners, the services, the hops under way."""
        return await self._control.call("terminal.status", None, model.Status)

    async def stop(self) -> None:
        """Begin no more hops; those under way go to their ends."""
        await self._control.call("terminal.stop", None, type(None))
