"""Phase 1: every ISAKMP SA of the endpoint, from the first message of its main mode to its end. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from nodes.ike.context import IKE_PORT, Context, Path
from nodes.ike.dpd import DeadPeerDetection
from nodes.ike.exchange import NO_ANSWER
from nodes.ike.half_open import HalfOpen
from nodes.ike.isakmp_lifecycle import IsakmpLifecycle, Wanting
from nodes.ike.isakmp_sa import IsakmpSa, State, described
from nodes.ike.isakmp_sa_table import IsakmpSaTable
from nodes.ike.main_mode_initiator import Initiator
from nodes.ike.main_mode_responder import Responder
from nodes.ike.messages.header import COOKIE, HEADER, NO_COOKIE, Header
from nodes.ike.messages.malformed import MalformedError, NotifyType
from nodes.ike.messages.notification import encode_deletion
from nodes.ike.messages.payloads import Payload, PayloadType, only, parse_chain
from nodes.ike.messages.sa_payload import Protocol as ProtocolId
from nodes.ike.messages.sa_payload import parse_sa
from nodes.ike.misbehaviour import Script
from nodes.ike.profile import Profile
from nodes.ike.proposals import choose_ike


class Owner(Protocol):
    """What phase 1 needs of the endpoint."""

    def rejected(self, path: Path, reason: str, text: str) -> None:
        """A message was refused."""

    def initial_contact(self, sa: IsakmpSa) -> None:
        """The partner knows of no SA of ours: what there was before this one is gone."""

    def has_pairs(self, profile: Profile) -> bool:
        """Whether there are IPsec SAs of this connection."""

    def last_esp(self, profile: Profile, told: Callable[[float], None]) -> None:
        """Tell when the last authenticated ESP packet came from this partner, in the clock's seconds."""

    def isakmp_sa_gone(self, sa: IsakmpSa, reason: str) -> None:
        """An ISAKMP SA that was up is gone."""


class Phase1:
    """The main modes, as initiator and as responder, and what becomes of their ISAKMP SAs.

    Args:
        context: of the endpoint.
        owner: the endpoint.
        profiles: the connections that are loaded, with the partner of an address.
        scripts: how a connection misbehaves.

    Attributes:
        sas: the ISAKMP SAs.
    """

    def __init__(
        self,
        context: Context,
        owner: Owner,
        profiles: Callable[[Path], tuple[Profile, ...]],
        scripts: Callable[[Profile], Script],
    ) -> None:
        options = context.options
        self._context = context
        self._owner = owner
        self._profiles = profiles
        self._scripts = scripts
        self.sas = IsakmpSaTable(context)
        self._lifecycle = IsakmpLifecycle(context, self.sas, self, owner.last_esp)
        self._wanting: dict[str, list[Wanting]] = {}
        self._attempts: dict[str, int] = {}
        self._half_open = HalfOpen(
            options.half_open_per_peer, options.half_open, self._returned, self._make_way
        )

    # ------------------------------------------------------------------ messages

    def first_message(self, header: Header, datagram: bytes, path: Path) -> None:
        """Take the first message of a main mode.

        Raises:
            MalformedError: it is none, or nobody here is to answer it.
        """
        before = self.sas.initiated_by(path.remote, header.initiator_cookie)
        if before is not None:
            self.sas.entry(before).mode.receive(header, datagram)
            return
        profiles = self._profiles(path)
        if not profiles:
            raise MalformedError("no connection with this address", NotifyType.NO_PROPOSAL_CHOSEN)
        profile = profiles[0]
        if not self._context.gate.may_negotiate(profile.peer, "responder", self._context.now):
            self._owner.rejected(path, "inactive", "")
            return
        if header.encrypted or header.message_id:
            raise MalformedError("a first message that is encrypted or has a message ID")
        payloads = parse_chain(header.next_payload, datagram[HEADER:])
        sa_body = only(payloads, PayloadType.SA)
        proposals = parse_sa(sa_body)
        choice = choose_ike(proposals, profile.suites)
        if choice is None:
            self._said_failed(profile, "responder", header.cookies, "no proposal of the partner's is ours")
            raise MalformedError("no proposal of the partner's is ours", NotifyType.NO_PROPOSAL_CHOSEN)
        if not self._half_open.admit(str(path.remote)):
            self._owner.rejected(path, "half-open", "as many main modes as may be are under way")
            return
        cookies = (header.initiator_cookie, self._context.random(COOKIE))
        sa = IsakmpSa(self._context, profile, self._scripts(profile), path, cookies)
        mode = Responder(
            sa,
            tuple(one for one in profiles if one.suites == profile.suites or choice.suite in one.suites),
            lambda: self._up(sa),
            lambda reason: self._responder_failed(sa, reason),
        )
        self.sas.add(sa, mode)
        timeout = self._context.options.half_open_timeout
        self.sas.at(sa, self._context.now + timeout, lambda: self._half_open_too_long(sa))
        self._half_open.add(sa)
        mode.start(choice, sa_body, payloads, datagram)

    def receive(self, sa: IsakmpSa, header: Header, datagram: bytes, path: Path) -> None:
        """Take a message of a main mode that is under way.

        Raises:
            MalformedError: it is none that is due.
        """
        before, cookies = sa.path, sa.cookies
        if not sa.established:
            sa.path = path  # the partner may have gone on at port 4500 (RFC 3947, section 4)
        try:
            self.sas.entry(sa).mode.receive(header, datagram)
        except MalformedError:
            sa.path = before
            raise
        self.sas.renamed(sa, cookies)

    def notified_in_clear(self, sa: IsakmpSa, header: Header, datagram: bytes) -> None:
        """Take an informational message in the clear: it may only end a main mode that we initiate.

        Raises:
            MalformedError: it does not.
        """
        if sa.established or not sa.initiator:
            raise MalformedError("an informational message in the clear")
        self.sas.entry(sa).mode.notified(header, datagram)

    def heard(self, sa: IsakmpSa) -> None:
        """The partner has sent something that was authenticated."""
        sa.last_heard = self._context.now
        dpd = self.dpd(sa)
        if dpd is not None:
            dpd.heard()

    def heard_esp(self, profile: Profile) -> None:
        """An authenticated ESP packet came from the partner."""
        for sa in self.sas.established(profile):
            self.heard(sa)

    def dpd(self, sa: IsakmpSa) -> DeadPeerDetection | None:
        """The dead peer detection of an SA that is up."""
        entry = self.sas.get(sa)
        return None if entry is None else entry.dpd

    # ------------------------------------------------------------------ initiating

    def want(self, profile: Profile, wanting: Wanting) -> None:
        """Tell ``wanting`` of an ISAKMP SA of this connection, negotiating one if need be."""
        sa = self.sas.newest(profile)
        if sa is not None:
            wanting(sa, "")
            return
        waiting = self._wanting.setdefault(profile.name, [])
        waiting.append(wanting)
        if len(waiting) == 1:
            self._attempts[profile.name] = 0
            self._initiate(profile)

    def rekey(self, profile: Profile, wanting: Wanting) -> None:
        """Negotiate another ISAKMP SA, which takes over from the one that is up (there is no other rekey)."""
        waiting = self._wanting.setdefault(profile.name, [])
        waiting.append(wanting)
        if len(waiting) == 1:
            self._attempts[profile.name] = 0
            self._initiate(profile)

    def _initiate(self, profile: Profile) -> None:
        context = self._context
        fresh = not self.sas.established(profile)  # else it replaces one that is up, which goes on
        if fresh and not context.gate.may_negotiate(profile.peer, "initiator", context.now):
            self._answer(profile, None, "the partner is inactive after an abnormal negotiation")
            return
        self._attempts[profile.name] += 1
        path = Path(profile.local, IKE_PORT, profile.remote, IKE_PORT)
        cookies = (context.random(COOKIE), NO_COOKIE)
        sa = IsakmpSa(context, profile, self._scripts(profile), path, cookies)
        mode = Initiator(sa, lambda: self._up(sa), lambda reason: self._initiator_failed(sa, reason))
        mode.initial_contact = not self.sas.established(profile) and not self._owner.has_pairs(profile)
        self.sas.add(sa, mode)
        mode.start()

    def abandon(self, sa: IsakmpSa, reason: str) -> None:
        """End a main mode that we initiate: it will not succeed."""
        self._initiator_failed(sa, reason)

    def _initiator_failed(self, sa: IsakmpSa, reason: str) -> None:
        self._said_failed(sa.profile, "initiator", sa.cookies, reason)
        self._remove(sa)
        loaded = (one for one in self._profiles(sa.path) if one.name == sa.profile.name)
        profile = next(loaded, sa.profile)  # what has been loaded anew meanwhile counts from here on
        tries = profile.config.keyingtries
        retry = reason == NO_ANSWER and (not tries or self._attempts.get(profile.name, 0) < tries)
        if retry and self._wanting.get(profile.name):
            self._initiate(profile)
        else:
            self._answer(profile, None, reason)

    def _answer(self, profile: Profile, sa: IsakmpSa | None, reason: str) -> None:
        for wanting in self._wanting.pop(profile.name, []):
            wanting(sa, reason)

    def cancel(self, profile: Profile, reason: str) -> None:
        """End the main modes of a connection that are under way."""
        for sa in self.sas:
            if sa.profile.name == profile.name and not sa.established:
                self._remove(sa)
        self._answer(profile, None, reason)

    # ------------------------------------------------------------------ responding

    def _responder_failed(self, sa: IsakmpSa, reason: str) -> None:
        """A main mode as responder failed; it may still be half open, waiting for a better message."""
        self._said_failed(sa.profile, "responder", sa.cookies, reason)
        entry = self.sas.get(sa)
        if entry is not None:
            entry.failure = reason
            if entry.mode.over:
                self._remove(sa)

    def _returned(self, sa: IsakmpSa) -> bool:
        mode = self.sas.entry(sa).mode
        return isinstance(mode, Responder) and mode.returned

    def _make_way(self, sa: IsakmpSa) -> None:
        self._owner.rejected(sa.path, "evicted", "a half-open SA made way for another")
        self._remove(sa)

    def _half_open_too_long(self, sa: IsakmpSa) -> None:
        if not sa.established:
            if self._returned(sa) and not self.sas.entry(sa).failure:
                self._said_failed(sa.profile, sa.side, sa.cookies, "the partner did not go on")
            self._remove(sa)

    # ------------------------------------------------------------------ up

    def _up(self, sa: IsakmpSa) -> None:
        """Main mode is over: the SA is up."""
        context = self._context
        entry = self.sas.entry(sa)
        self._half_open.discard(sa)
        for timer in entry.timers:
            timer.cancel()
        entry.timers.clear()
        sa.last_heard = context.now
        if isinstance(entry.mode, Responder) and entry.mode.contact_is_initial:
            self._owner.initial_contact(sa)
        self._said("ike-sa.established", sa)
        self._lifecycle.up(sa)
        self._answer(sa.profile, sa, "")

    # ------------------------------------------------------------------ gone

    def delete(self, sa: IsakmpSa, reason: str, *, announce: bool) -> None:
        """End an SA; with ``announce`` the partner is told, if it is up."""
        if sa.state is State.DELETED:
            return
        was_up = sa.established
        if announce and was_up:
            body = encode_deletion(ProtocolId.ISAKMP, [b"".join(sa.cookies)])
            sa.inform(Payload(PayloadType.DELETE, body))
        self._remove(sa)
        if was_up:
            self._said("ike-sa.deleted", sa, reason=reason)
            self._owner.isakmp_sa_gone(sa, reason)
        elif sa.initiator:
            self._answer(sa.profile, None, reason)

    def _remove(self, sa: IsakmpSa) -> None:
        self.sas.remove(sa)
        self._half_open.discard(sa)

    # ------------------------------------------------------------------ what is told

    def _said(self, kind: str, sa: IsakmpSa, **more: Any) -> None:
        told: dict[str, Any] = msgspec.to_builtins(described(sa, self._context.now))
        del told["children"]
        self._context.say(kind, **told, **more)

    def _said_failed(self, profile: Profile, side: Any, cookies: tuple[bytes, bytes], reason: str) -> None:
        self._context.gate.failed(profile.peer, side, cookies, reason, self._context.now)
        self._context.say(
            "negotiation.failed",
            name=profile.name,
            peer=profile.peer,
            side=side,
            exchange="main-mode",
            initiator_spi=cookies[0].hex(),
            responder_spi=cookies[1].hex(),
            reason=reason,
        )
