"""Phase 2: the Quick Modes under the endpoint's ISAKMP SAs, and what the life cycle asks of them. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from nodes.ike.context import Context
from nodes.ike.exchange import NO_ANSWER
from nodes.ike.ipsec_sa import IpsecSa
from nodes.ike.isakmp_sa import IsakmpSa
from nodes.ike.lifecycle import Lifecycle
from nodes.ike.messages.header import Header
from nodes.ike.messages.malformed import MalformedError, NotifyType, notify_name
from nodes.ike.messages.notification import Notification, encode_deletion
from nodes.ike.messages.payloads import Payload, PayloadType
from nodes.ike.messages.sa_payload import Protocol
from nodes.ike.phase1 import Phase1
from nodes.ike.profile import ChildProfile, Profile
from nodes.ike.quick_mode import QuickMode
from nodes.ike.quick_mode_initiator import Initiator
from nodes.ike.quick_mode_responder import Responder
from nodes.ike.traffic_selectors import Selectors

MAX_UNDER_WAY = 16
"""Quick Modes of one partner that may be under way."""
MAX_REMEMBERED = 16
"""Quick Modes that are over, for each ISAKMP SA, whose last message may still be asked for again."""

Ended = Callable[[IpsecSa | None, str], None]
"""Told of the pair that came of a Quick Mode, or why none did."""


def _selectors(child: ChildProfile, replaced: IpsecSa | None) -> Selectors:
    """What to ask for: what the pair that is to be replaced protects, if the child still wants that."""
    wanted = Selectors(child.local_ts[0], child.remote_ts[0])
    if replaced is None:
        return wanted
    narrowed = Selectors(replaced.inbound.local_ts, replaced.inbound.remote_ts)
    fits = narrowed.local.subnet_of(wanted.local) and narrowed.remote.subnet_of(wanted.remote)
    return narrowed if fits else wanted


class Phase2:
    """The Quick Modes; the :class:`~nodes.ike.lifecycle.Negotiations` of the life cycle.

    Args:
        context: of the endpoint.
        phase1: its ISAKMP SAs.
    """

    def __init__(self, context: Context, phase1: Phase1) -> None:
        self._context = context
        self._phase1 = phase1
        self.lifecycle = Lifecycle(context, self)
        self._modes: dict[int, OrderedDict[int, QuickMode]] = {}
        """By ISAKMP SA and message ID."""
        self._initiating: dict[tuple[str, str], list[Ended]] = {}
        """By connection and child: a second request joins the first."""

    # ------------------------------------------------------------------ messages

    def receive(self, sa: IsakmpSa, header: Header, datagram: bytes) -> None:
        """Take a message of a Quick Mode.

        Raises:
            MalformedError: it belongs to none that is under way and begins none.
        """
        modes = self._modes.setdefault(sa.id, OrderedDict())
        mode = modes.get(header.message_id)
        if mode is None:
            mode = self._begin(sa, header, modes)
        mode.receive(header, datagram)
        if header.message_id not in modes:  # it was authenticated, else there were an error
            sa.seen.add(header.message_id)
            modes[header.message_id] = mode
        self._phase1.heard(sa)
        self._forget_old(modes)

    def _begin(self, sa: IsakmpSa, header: Header, modes: OrderedDict[int, QuickMode]) -> Responder:
        if header.message_id == 0:
            raise MalformedError("a Quick Mode without a message ID", NotifyType.INVALID_MESSAGE_ID)
        if header.message_id in sa.seen:
            raise MalformedError("a message of an exchange that is over")
        if sa.exhausted:
            raise MalformedError("an ISAKMP SA that takes no further exchange")
        peer, now = sa.profile.peer, self._context.now
        if not self.lifecycle.of(sa.profile) and not self._context.gate.may_negotiate(peer, "responder", now):
            raise MalformedError("the partner is inactive after an abnormal negotiation")
        if sum(not one.over for one in modes.values()) >= MAX_UNDER_WAY:
            raise MalformedError("as many Quick Modes as may be are under way")
        profile = sa.profile
        mode = Responder(
            sa,
            self.lifecycle,
            header.message_id,
            lambda pair, reason: self._over(sa, header.message_id, pair, reason, "responder"),
        )
        timing = profile.config.timing or self._context.options.timing
        mode.early = timing == "early"
        return mode

    def _forget_old(self, modes: OrderedDict[int, QuickMode]) -> None:
        over = [number for number, mode in modes.items() if mode.over]
        for number in over[: max(0, len(over) - MAX_REMEMBERED)]:
            del modes[number]

    def notified(self, sa: IsakmpSa, notification: Notification) -> None:
        """Take an error about a Quick Mode of ours: the one whose SPI it names, else the only one."""
        if notification.protocol == Protocol.ISAKMP and notification.spi == b"".join(sa.cookies):
            return
        under_way = [mode for mode in self._modes.get(sa.id, {}).values() if not mode.over]
        ours = [one for one in under_way if isinstance(one, Initiator)]
        meant = [one for one in ours if one.is_about(notification.spi)] or (ours if len(ours) == 1 else [])
        for mode in meant:
            mode.fail(f"the partner says {notify_name(notification.type)}")

    def deleted_by_partner(self, sa: IsakmpSa) -> None:
        """The partner deletes an ISAKMP SA before it has carried a pair: it has refused our Quick Mode.

        Its notify, which nobody acknowledges, was lost or overtaken.
        """
        if self.lifecycle.of(sa.profile):
            return
        for mode in self._modes.get(sa.id, {}).values():
            if isinstance(mode, Initiator) and not mode.over:
                mode.fail("the partner deletes the ISAKMP SA")

    # ------------------------------------------------------------------ initiating

    def initiate(self, profile: Profile, child: ChildProfile, ended: Ended) -> None:
        """Negotiate a pair, and an ISAKMP SA before it if need be; ``ended`` is told how it went."""
        waiting = self._initiating.setdefault((profile.name, child.name), [])
        waiting.append(ended)
        if len(waiting) == 1:
            self._phase1.want(profile, lambda sa, reason: self._start(profile, child, sa, reason))

    def _start(self, profile: Profile, child: ChildProfile, sa: IsakmpSa | None, reason: str) -> None:
        if sa is None:
            self._answer(profile, child, None, reason)
            return
        replaced = self.lifecycle.newest(profile, child)
        if replaced is None and not self._context.gate.may_negotiate(
            profile.peer, "initiator", self._context.now
        ):
            self._answer(profile, child, None, "the partner is inactive after an abnormal negotiation")
            return
        message_id = sa.new_message_id()

        def over(pair: IpsecSa | None, why: str) -> None:
            self._over(sa, message_id, pair, why, "initiator")
            self._answer(profile, child, pair, why)
            if why == NO_ANSWER:  # it may have lost the ISAKMP SA: the next negotiation makes a new one
                self._phase1.delete(sa, "timeout", announce=False)

        mode = Initiator(sa, self.lifecycle, message_id, over)
        modes = self._modes.setdefault(sa.id, OrderedDict())
        modes[message_id] = mode
        mode.start(child, _selectors(child, replaced))
        self._forget_old(modes)

    def _answer(self, profile: Profile, child: ChildProfile, pair: IpsecSa | None, reason: str) -> None:
        for ended in self._initiating.pop((profile.name, child.name), []):
            ended(pair, reason)

    def initiating(self, profile: Profile, child: ChildProfile) -> bool:
        """Whether a negotiation that we began for this child is under way."""
        return (profile.name, child.name) in self._initiating

    def _over(self, sa: IsakmpSa, message_id: int, pair: IpsecSa | None, reason: str, side: str) -> None:
        profile = sa.profile
        if pair is not None:
            if sum(one.child.name == pair.child.name for one in self.lifecycle.of(profile)) == 1:
                self._context.gate.succeeded(profile.peer, self._context.now)
            return
        if side == "initiator":
            self._context.gate.failed(profile.peer, "initiator", sa.cookies, reason, self._context.now)
        else:
            self._context.gate.failed(profile.peer, "responder", sa.cookies, reason, self._context.now)
        self._context.say(
            "negotiation.failed",
            name=profile.name,
            peer=profile.peer,
            side=side,
            exchange="quick-mode",
            initiator_spi=sa.cookies[0].hex(),
            responder_spi=sa.cookies[1].hex(),
            message_id=f"{message_id:08x}",
            reason=reason,
        )

    def isakmp_sa_gone(self, sa: IsakmpSa) -> None:
        """An ISAKMP SA is gone: its Quick Modes that are under way come to nothing."""
        for mode in self._modes.pop(sa.id, OrderedDict()).values():
            if not mode.over:
                mode.fail("the ISAKMP SA is gone")

    # ------------------------------------------------------------------ for the life cycle

    def rekey_pair(self, pair: IpsecSa) -> bool:
        """Begin a Quick Mode that replaces a pair, unless one of ours is under way."""
        if self.initiating(pair.profile, pair.child):
            return False

        def ended(new: IpsecSa | None, reason: str) -> None:  # noqa: ARG001
            if new is None:
                self.lifecycle.rekey_failed(pair)

        self.initiate(pair.profile, pair.child, ended)
        return True

    def announce_deletion(self, pair: IpsecSa) -> None:
        """Send a DELETE for a pair: its inbound SPI is ours (RFC 2408, section 3.15)."""
        sa = self._phase1.sas.newest(pair.profile)
        if sa is not None:
            body = encode_deletion(Protocol.ESP, [pair.inbound.spi.to_bytes(4, "big")])
            sa.inform(Payload(PayloadType.DELETE, body))

    def quick_mode_under_way(self, profile: Profile) -> bool:
        """Whether a Quick Mode with this partner is under way."""
        return any(
            not mode.over
            for sa in self._phase1.sas.established(profile)
            for mode in self._modes.get(sa.id, {}).values()
        )

    def ike_id(self, profile: Profile) -> int:
        """The id of the ISAKMP SA that pairs of this connection belong to; 0: there is none."""
        sa = self._phase1.sas.newest(profile)
        return 0 if sa is None else sa.id

    def heard_esp(self, profile: Profile) -> None:
        """An authenticated ESP packet came from this partner."""
        self._phase1.heard_esp(profile)

    def confirmed_by_esp(self, pair: IpsecSa) -> None:
        """The partner has shown by an ESP packet that it has the pair."""
        for modes in self._modes.values():
            for mode in modes.values():
                if isinstance(mode, Responder) and mode.pair is pair and not mode.over:
                    mode.confirmed_by_esp()
