"""The IKEv1 endpoint without I/O: datagrams, time, commands in; datagrams, data-plane orders, events out.

Whoever runs it calls :meth:`Endpoint.receive`, :meth:`Endpoint.tick` at :meth:`Endpoint.next_wake`,
:meth:`Endpoint.told` with what the data plane tells and :meth:`Endpoint.completed` when an order is done, and
after each of them carries out ``outputs``, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from nodes.ike.context import Context, Output, Path, Result
from nodes.ike.dataplane.base import (
    DataPlaneEvent,
    Direction,
    FirstPacket,
    LimitReached,
    NoSa,
    Policy,
    Usage,
)
from nodes.ike.dpd import DeadPeerDetection
from nodes.ike.gate import Gate
from nodes.ike.ipsec_sa import IpsecSa
from nodes.ike.ipsec_sa import described as described_pair
from nodes.ike.isakmp_lifecycle import Wanting
from nodes.ike.isakmp_sa import IsakmpSa
from nodes.ike.isakmp_sa import described as described_sa
from nodes.ike.messages.malformed import NotifyType
from nodes.ike.messages.notification import Deletion, Notification
from nodes.ike.messages.sa_payload import Protocol
from nodes.ike.misbehaviour import Script
from nodes.ike.phase1 import Phase1
from nodes.ike.phase2 import Phase2
from nodes.ike.profile import ChildProfile, Profile
from nodes.ike.reception import Reception
from nodes.ike.rejections import Rejections
from nodes.ike.settings import IkeOptions
from nodes.peer.model import IkeSa


class Endpoint:
    """The core.

    Args:
        options: of the endpoint.
        gate: asked before each negotiation, and told of each that failed.
    """

    def __init__(self, options: IkeOptions, gate: Gate | None = None) -> None:
        self.context = Context(options, gate)
        self.rejections = Rejections(self.context)
        self._profiles: dict[str, Profile] = {}
        self._scripts: dict[str, Script] = {}
        self._reqids: dict[tuple[str, str], int] = {}
        self.phase1 = Phase1(self.context, self, self._profiles_of, self._script_of)
        self.phase2 = Phase2(self.context, self.phase1)
        self.lifecycle = self.phase2.lifecycle
        self._reception = Reception(self.context, self.phase1, self.phase2, self.rejections, self)

    @property
    def outputs(self) -> deque[Output]:
        """What is to be done outside, in order; whoever does it takes it out."""
        return self.context.outputs

    # ------------------------------------------------------------------ connections

    def load(self, profile: Profile, now: float) -> None:
        """Take a connection, or replace the one of its name; SAs that are up stay up."""
        self.context.now = now
        before = self._profiles.get(profile.name)
        self._profiles[profile.name] = profile
        peers = frozenset(one.peer for one in self._profiles.values())
        self.context.gate.loaded(profile.peer, peers, now)
        self._scripts[profile.name] = Script(profile.config.misbehaviour)
        self._adopt(profile)
        kept = {child.reqid for child in profile.children}
        for reqid in {child.reqid for child in before.children} - kept if before else ():
            self.context.order("remove_policy", reqid)
        for child in profile.children:
            if child.config.start_action == "start" and self.lifecycle.current(profile, child) is None:
                self._start(profile, child)

    def _adopt(self, profile: Profile) -> None:
        """What is negotiated from now on under SAs that are up is negotiated as the new connection says."""
        for sa in self.phase1.sas:
            if sa.profile.name == profile.name:
                sa.profile, sa.script = profile, self._scripts[profile.name]
        for pair in self.lifecycle.pairs:
            if pair.profile.name == profile.name:
                pair.profile = profile
                same = [child for child in profile.children if child.name == pair.child.name]
                pair.child = same[0] if same else pair.child

    def farewell(self, now: float) -> None:
        """Tell every partner that its SAs are gone: the endpoint ends."""
        self.context.now = now
        for sa in self.phase1.sas:
            self.terminate_isakmp(sa, now)

    def policies(self, profile: Profile) -> list[Policy]:
        """The traffic of a connection that must be protected from its loading on.

        Raises:
            ValueError: a selector holds the partner's own address.
        """
        return [
            Policy(
                reqid=child.reqid,
                local=profile.local,
                remote=profile.remote,
                local_ts=child.local_ts[0],
                remote_ts=child.remote_ts[0],
            )
            for child in profile.children
        ]

    def reqid(self, connection: str, child: str) -> int:
        """The id of a child's policy: the same for as long as the endpoint lives."""
        return self._reqids.setdefault((connection, child), len(self._reqids) + 1)

    def unload(self, name: str, now: float) -> None:
        """Forget a connection and its policies; SAs that are up stay up."""
        self.context.now = now
        profile = self._profiles.pop(name)
        self.phase1.cancel(profile, "the connection was unloaded")
        for child in profile.children:
            self.context.order("remove_policy", child.reqid)

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """The connections that are loaded, by name."""
        return self._profiles

    def _profiles_of(self, path: Path) -> tuple[Profile, ...]:
        """The connections between the addresses of a path."""
        return tuple(
            profile
            for profile in self._profiles.values()
            if profile.remote == path.remote and profile.local == path.local
        )

    def _script_of(self, profile: Profile) -> Script:
        return self._scripts.get(profile.name) or Script(())

    # ------------------------------------------------------------------ time

    def next_wake(self) -> float | None:
        """When :meth:`tick` is due; None: nothing is awaited."""
        return self.context.timers.next_due()

    def tick(self, now: float) -> None:
        """Do what is due by now."""
        self.context.now = now
        self.context.timers.run(now)

    # ------------------------------------------------------------------ datagrams

    def receive(self, datagram: bytes, path: Path, now: float) -> None:
        """Take a datagram from port 500 or, without its non-ESP marker, from port 4500; whatever it is."""
        self.context.now = now
        self._reception.take(datagram, path)

    def rejected(self, path: Path, reason: str, text: str) -> None:
        """Refuse a message."""
        self.rejections.reject(path, reason, text)

    # ------------------------------------------------------------------ the data plane

    def completed(self, number: int, result: Result, now: float) -> None:
        """An order is over."""
        self.context.now = now
        self.context.completed(number, result)

    def told(self, event: DataPlaneEvent, now: float) -> None:
        """Take what the data plane tells."""
        self.context.now = now
        match event:
            case FirstPacket():
                self.lifecycle.first_packet(event)
            case LimitReached():
                self.lifecycle.limit_reached(event)
            case NoSa():
                self._acquire(event)

    def _acquire(self, event: NoSa) -> None:
        """Traffic needs an SA: negotiate one, if the child is to be trapped."""
        for profile in self._profiles.values():
            for child in profile.children:
                if child.reqid == event.reqid and child.config.start_action == "trap":
                    self._start(profile, child)

    def _start(self, profile: Profile, child: ChildProfile) -> None:
        if not self.phase2.initiating(profile, child):
            self.phase2.initiate(profile, child, lambda _pair, _reason: None)

    # ------------------------------------------------------------------ commands

    def initiate(
        self, connection: str, child: str, ended: Callable[[IpsecSa | None, str], None], now: float
    ) -> None:
        """Negotiate a pair of a child, unless one is in use; ``ended`` is told how it went."""
        self.context.now = now
        profile = self._profiles[connection]
        meant = next(one for one in profile.children if one.name == child)
        current = self.lifecycle.current(profile, meant)
        if current is not None:
            ended(current, "")
        else:
            self.phase2.initiate(profile, meant, ended)

    def rekey_pair(self, pair: IpsecSa, ended: Callable[[IpsecSa | None, str], None], now: float) -> None:
        """Replace a pair; ``ended`` is told how it went."""
        self.context.now = now
        self.phase2.initiate(pair.profile, pair.child, ended)

    def rekey_isakmp(self, sa: IsakmpSa, wanting: Wanting, now: float) -> None:
        """Replace an ISAKMP SA by another main mode; ``wanting`` is told how it went."""
        self.context.now = now
        self.phase1.rekey(sa.profile, wanting)

    def terminate_pair(self, pair: IpsecSa, now: float) -> None:
        """Delete a pair, and tell the partner."""
        self.context.now = now
        self.lifecycle.delete(pair, "terminated", announce=True)

    def terminate_isakmp(self, sa: IsakmpSa, now: float) -> None:
        """Delete an ISAKMP SA with its pairs, if it is the one that they belong to; tell the partner."""
        self.context.now = now
        if self.phase1.sas.newest(sa.profile) is sa:
            for pair in self.lifecycle.of(sa.profile):
                self.lifecycle.delete(pair, "terminated", announce=True)
        self.phase1.delete(sa, "terminated", announce=True)

    def sas(self, now: float, usage: Mapping[tuple[Direction, int], Usage]) -> tuple[IkeSa, ...]:
        """The ISAKMP SAs, half-open ones too, each with its pairs: those of the newest of its connection."""
        return tuple(
            msgspec.structs.replace(
                described_sa(sa, now),
                children=tuple(described_pair(pair, now, usage) for pair in self.pairs_of(sa)),
            )
            for sa in self.phase1.sas
        )

    def pairs_of(self, sa: IsakmpSa) -> list[IpsecSa]:
        """The pairs that belong to an ISAKMP SA."""
        return self.lifecycle.of(sa.profile) if self.phase1.sas.newest(sa.profile) is sa else []

    # ------------------------------------------------------------------ for phase 1 and the informational

    def has_pairs(self, profile: Profile) -> bool:
        """Whether there are IPsec SAs of this connection."""
        return bool(self.lifecycle.of(profile))

    def initial_contact(self, sa: IsakmpSa) -> None:
        """The partner has begun anew (RFC 2407, section 4.6.3.3): what it had with us is gone."""
        for pair in self.lifecycle.of(sa.profile):
            self.lifecycle.delete(pair, "initial-contact", announce=False)
        for other in self.phase1.sas.established(sa.profile):
            if other is not sa:
                self.phase1.delete(other, "initial-contact", announce=False)

    def last_esp(self, profile: Profile, told: Callable[[float], None]) -> None:
        """Tell when the last authenticated ESP packet came from this partner."""

        def counted(result: Result) -> None:
            usage = result.usage or {}
            inbound = [usage.get(("in", pair.inbound.spi)) for pair in self.lifecycle.of(profile)]
            told(max((one.last_ns / 1e9 for one in inbound if one is not None), default=0.0))

        self.context.order("usage", None, counted)

    def isakmp_sa_gone(self, sa: IsakmpSa, reason: str) -> None:
        """An ISAKMP SA is gone; if it was the last of its connection, its pairs may be too."""
        self.phase2.isakmp_sa_gone(sa)
        if self.phase1.sas.newest(sa.profile) is not None or reason not in ("delete", "dpd"):
            return
        for pair in self.lifecycle.of(sa.profile):
            self.lifecycle.delete(pair, reason, announce=False)
            self._act(pair.profile, pair.child, reason)

    def _act(self, profile: Profile, child: ChildProfile, reason: str) -> None:
        """Begin anew where the connection says so."""
        config = child.config
        action = {"dpd": config.dpd_action, "delete": config.close_action}.get(reason, "none")
        loaded = self._profiles.get(profile.name)
        if action == "start" and loaded is not None and self.lifecycle.current(profile, child) is None:
            self._start(loaded, child)

    def dpd(self, sa: IsakmpSa) -> DeadPeerDetection | None:
        """The dead peer detection of an SA."""
        return self.phase1.dpd(sa)

    def deleted(self, sa: IsakmpSa, deletion: Deletion) -> None:
        """The partner has deleted SAs; an SPI of ESP is of its own inbound SA, our outbound one."""
        if deletion.protocol == Protocol.ISAKMP:
            if b"".join(sa.cookies) in deletion.spis:
                self.phase2.deleted_by_partner(sa)
                self.phase1.delete(sa, "delete", announce=False)
        elif deletion.protocol == Protocol.ESP:
            for spi in deletion.spis:
                pair = self.lifecycle.by_outbound(sa.profile, int.from_bytes(spi, "big"))
                if pair is not None and pair.profile.name == sa.profile.name:
                    self.lifecycle.deleted_by_partner(pair)
                    self._act(pair.profile, pair.child, "delete")

    def notified(self, sa: IsakmpSa, notification: Notification) -> None:
        """The partner tells something else than DPD."""
        if notification.is_error:
            self.phase2.notified(sa, notification)
        elif notification.type == NotifyType.INITIAL_CONTACT:
            self.initial_contact(sa)
