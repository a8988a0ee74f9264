"""Which of a partner's services support updating (seed, claim 6: the first determination). No I/O."""

from __future__ import annotations

from ipaddress import IPv6Address

from nodes.terminal.actions import Endpoint, Path, RefreshFlows
from nodes.terminal.contexts import Context, Record
from nodes.terminal.keys import ContextKeys
from nodes.terminal.message import Capability, Code, Listed
from nodes.terminal.plan import NS_PER_MS, capability
from nodes.terminal.surroundings import Surroundings, target

UNKNOWN_WAIT = 60 * NS_PER_MS
"""How long a flow may be missing from the inventory before it counts as no such flow."""
_REFRESH_AGAIN = 15 * NS_PER_MS
_MOST_UNKNOWN = 256


class Determination:
    """Determines for each service that a partner asks about, and records it where it is supported."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._in = surroundings
        self._refreshed = -_REFRESH_AGAIN

    def determine(
        self,
        context: Context,
        keys: ContextKeys,
        flags: Capability,
        listed: Listed,
        addresses: tuple[IPv6Address, IPv6Address],
        now: int,
    ) -> Code | None:
        """The answer for one service; None: not yet, the inventory is asked first.

        Args:
            context: the partner's hop.
            keys: the context's.
            flags: what the partner wants to change.
            listed: the service, as the partner names it.
            addresses: the request's source and destination.
            now: the clock.
        """
        source, destination = addresses
        path = Path(Endpoint(destination, listed.remote_port), Endpoint(source, listed.local_port))
        tracked = self._in.services.on_path(listed.protocol, path)
        known = context.records.get(listed.id)
        if known is not None:
            if tracked is not None and tracked.flow == known.flow and source not in known.sources:
                known.sources.append(source)  # it left for another hop's address meanwhile
            return Code.SUPPORTED
        if tracked is None or tracked.ended is not None:
            first_asked = context.unknown.get(listed.id)
            if first_asked is None and len(context.unknown) < _MOST_UNKNOWN:
                first_asked = context.unknown[listed.id] = now
            if first_asked is None or now - first_asked >= UNKNOWN_WAIT:
                return Code.NO_SUCH_FLOW
            if now - self._refreshed >= _REFRESH_AGAIN:
                self._refreshed = now
                self._in.outbox.act(RefreshFlows())
            return None
        if tracked.pair is not None and tracked.pair != context.pair:
            return Code.NO_SUCH_FLOW  # another partner's: nobody else may take it
        changed = capability(source, context.second) | (flags & Capability.PORTS)
        allowed = self._in.policy.capability | Capability.PORTS
        if changed & ~flags or changed & ~allowed or not self._in.policy.supports(tracked.service):
            return Code.POLICY
        if listed.id == 0 or len(context.records) >= self._in.settings.most_services:
            return Code.NO_ROOM
        end = target(
            keys,
            tracked.flow,
            bool(flags & Capability.PORTS),
            listed.id,
            Endpoint(context.second, listed.local_port),
        )
        context.records[listed.id] = Record(
            id=listed.id, flow=tracked.flow, sources=[source], target=end, turn=now
        )
        context.unknown.pop(listed.id, None)
        return Code.SUPPORTED
