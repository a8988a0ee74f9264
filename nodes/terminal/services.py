"""The services of a terminal: for each, which endpoints it has on the wire at either side. No I/O.

A hop moves one end of a flow. The two ends move on their own, and each may have several endpoints while a
hop is under way; packets are accepted on every path from one of the one side to one of the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv6Address

import msgspec

from nodes.terminal.actions import Endpoint, Flow, Path, Rewriting, Service

MOST_ENDPOINTS = 16
"""Endpoints that one end of a flow can have at once."""

PathKey = tuple[int, Endpoint, Endpoint]


class Side(msgspec.Struct, kw_only=True):
    """One end of a flow on the wire.

    Attributes:
        current: what outgoing packets bear.
        accepted: what incoming packets may bear; ``current`` is among them.
    """

    current: Endpoint
    accepted: list[Endpoint]


class Tracked(msgspec.Struct, kw_only=True):
    """A service with its ends.

    Attributes:
        service: what the inventory said of it.
        pair: the partner's name, None: it is nobody that we share a secret with.
        local: this terminal's end.
        remote: the partner's end.
        flow_label: of its packets; None: the kernel's.
        ended: when it ended (its rewriting lingers), None: it goes on.
        kept_until: it stays on its address until it ends, or until then.
    """

    service: Service
    pair: str | None
    local: Side
    remote: Side
    flow_label: int | None = None
    ended: int | None = None
    kept_until: int | None = None

    @property
    def flow(self) -> Flow:
        """Its name."""
        return self.service.flow

    @property
    def own_path(self) -> Path:
        """The path that its socket knows."""
        return Path(self.flow.local, self.flow.remote)

    @property
    def out(self) -> Path:
        """The path of its outgoing packets."""
        return Path(self.local.current, self.remote.current)

    def paths(self) -> Iterator[Path]:
        """Every path on which its packets are accepted."""
        for local in self.local.accepted:
            for remote in self.remote.accepted:
                yield Path(local, remote)

    def rewriting(self) -> Rewriting:
        """What the data plane is to do with it."""
        own = self.own_path
        paths = list(self.paths())
        return Rewriting(
            flow=self.flow,
            out=self.out,
            accepted=tuple(path for path in paths if path != own),
            dropped=own not in paths,
            flow_label=self.flow_label,
        )


class ServiceTable:
    """All services by their flows and by the paths that they are accepted on.

    A change marks the service; :meth:`take_changed` brings what the data plane must be told.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._services: dict[Flow, Tracked] = {}
        self._by_path: dict[PathKey, Tracked] = {}
        self._changed: dict[Flow, None] = {}
        self._gone: dict[Flow, None] = {}
        self.timed: dict[Flow, Tracked] = {}
        """Services that time changes: ended, or kept."""
        self._at_local: defaultdict[IPv6Address, dict[Flow, None]] = defaultdict(dict)
        self._at_remote: defaultdict[IPv6Address, dict[Flow, None]] = defaultdict(dict)
        self._of_socket: defaultdict[IPv6Address, dict[Flow, None]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._services)

    def __iter__(self) -> Iterator[Tracked]:
        return iter(list(self._services.values()))

    def get(self, flow: Flow) -> Tracked | None:
        """The service of this flow."""
        return self._services.get(flow)

    def on_path(self, protocol: int, path: Path) -> Tracked | None:
        """The service whose packets are accepted on this path."""
        return self._by_path.get((protocol, path.local, path.remote))

    def add(self, service: Service, pair: str | None) -> Tracked | None:
        """Take a service that began; None: there is no room, or another one has its path on the wire."""
        flow = service.flow
        if len(self._services) >= self._most or (flow.protocol, flow.local, flow.remote) in self._by_path:
            return None
        tracked = Tracked(
            service=service,
            pair=pair,
            local=Side(current=flow.local, accepted=[flow.local]),
            remote=Side(current=flow.remote, accepted=[flow.remote]),
        )
        self.put(tracked)
        return tracked

    def put(self, tracked: Tracked) -> None:
        """Take a service as it is, as after a restart."""
        flow = tracked.flow
        self._services[flow] = tracked
        if tracked.ended is not None or tracked.kept_until is not None:
            self.timed[flow] = tracked
        self._of_socket[flow.local.address][flow] = None
        for end in tracked.local.accepted:
            self._at_local[end.address][flow] = None
        for end in tracked.remote.accepted:
            self._at_remote[end.address][flow] = None
        for path in tracked.paths():
            self._by_path[flow.protocol, path.local, path.remote] = tracked

    def remove(self, tracked: Tracked) -> None:
        """Forget a service; its rewriting is over."""
        flow = tracked.flow
        if self._services.pop(flow, None) is None:
            return
        self.timed.pop(flow, None)
        _drop(self._of_socket, flow.local.address, flow)
        for end in tracked.local.accepted:
            _drop(self._at_local, end.address, flow)
        for end in tracked.remote.accepted:
            _drop(self._at_remote, end.address, flow)
        for path in tracked.paths():
            self._by_path.pop((flow.protocol, path.local, path.remote), None)
        self._changed.pop(flow, None)
        if not tracked.rewriting().over:
            self._gone[flow] = None

    def accept(self, tracked: Tracked, side: Side, endpoint: Endpoint) -> bool:
        """Accept packets with this endpoint at this side of the service; whether that is possible.

        It is not where another service has one of the paths, or the side has too many endpoints.
        """
        if endpoint in side.accepted:
            return True
        local_side = side is tracked.local
        others = (tracked.remote if local_side else tracked.local).accepted
        keys = [
            (tracked.flow.protocol, *((endpoint, other) if local_side else (other, endpoint)))
            for other in others
        ]
        if len(side.accepted) >= MOST_ENDPOINTS or any(key in self._by_path for key in keys):
            return False
        side.accepted.append(endpoint)
        (self._at_local if local_side else self._at_remote)[endpoint.address][tracked.flow] = None
        for key in keys:
            self._by_path[key] = tracked
        self._changed[tracked.flow] = None
        return True

    def refuse(self, tracked: Tracked, side: Side, endpoint: Endpoint) -> None:
        """Accept packets with this endpoint no longer, unless outgoing packets bear it."""
        if endpoint not in side.accepted or endpoint == side.current:
            return
        side.accepted.remove(endpoint)
        local_side = side is tracked.local
        for other in (tracked.remote if local_side else tracked.local).accepted:
            pair = (endpoint, other) if local_side else (other, endpoint)
            self._by_path.pop((tracked.flow.protocol, *pair), None)
        if not any(end.address == endpoint.address for end in side.accepted):
            _drop(self._at_local if local_side else self._at_remote, endpoint.address, tracked.flow)
        self._changed[tracked.flow] = None

    def switch(self, tracked: Tracked, side: Side, endpoint: Endpoint) -> None:
        """Outgoing packets bear this endpoint, one that is accepted, from now on."""
        if endpoint not in side.accepted:
            raise ValueError(f"{endpoint} is not accepted yet")
        if side.current != endpoint:
            side.current = endpoint
            self._changed[tracked.flow] = None

    def label(self, tracked: Tracked, flow_label: int) -> None:
        """Outgoing packets bear this flow label."""
        tracked.flow_label = flow_label
        self._changed[tracked.flow] = None

    def end(self, tracked: Tracked, now: int) -> None:
        """The service ended; its rewriting lingers."""
        tracked.ended = now
        self.timed[tracked.flow] = tracked

    def keep(self, tracked: Tracked, until: int) -> None:
        """The service stays where it is, until then at the longest."""
        tracked.kept_until = until
        self.timed[tracked.flow] = tracked

    def changed_again(self, flow: Flow) -> None:
        """The data plane must be told once more."""
        if flow in self._services:
            self._changed[flow] = None
        else:
            self._gone[flow] = None

    def take_changed(self) -> tuple[Rewriting, ...]:
        """What the data plane has not been told yet."""
        changed = [self._services[flow].rewriting() for flow in self._changed]
        gone = [over(flow) for flow in self._gone if flow not in self._services]
        self._changed.clear()
        self._gone.clear()
        return (*gone, *changed)

    def with_local(self, address: IPv6Address) -> list[Tracked]:
        """Services that accept packets to this address of ours, on the wire."""
        return [self._services[flow] for flow in self._at_local.get(address, ())]

    def with_remote(self, address: IPv6Address) -> list[Tracked]:
        """Services that accept packets from this address of a partner."""
        return [self._services[flow] for flow in self._at_remote.get(address, ())]

    def of_sockets(self, address: IPv6Address) -> list[Tracked]:
        """Services whose sockets bear this address of ours."""
        return [self._services[flow] for flow in self._of_socket.get(address, ())]


def _drop(index: dict[IPv6Address, dict[Flow, None]], address: IPv6Address, flow: Flow) -> None:
    flows = index.get(address)
    if flows is not None:
        flows.pop(flow, None)
        if not flows:
            del index[address]


def over(flow: Flow) -> Rewriting:
    """The rewriting of a flow that is rewritten no more."""
    return Rewriting(flow=flow, out=Path(flow.local, flow.remote))
