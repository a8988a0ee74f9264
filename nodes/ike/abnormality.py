"""Method 2 natively: the gate that lets no negotiation through towards an inactive partner. No I/O.

What the guard beside charon has to find out, the endpoint knows: which negotiations are its own, which ISAKMP
SAs carry a tunnel, and whether a Quick Mode or main mode replaces one that is up. Those go on. See
docs/ike-abnormality.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from nodes.abnormality.failures import Failures
from nodes.abnormality.machine import NS_PER_S, Change, Machine, Reason, Side
from nodes.abnormality.message import MENDED, AbnormalInformation, build
from nodes.abnormality.model import AbnormalityOptions, PartnerState, partner_state
from nodes.abnormality.timing import Timing
from nodes.ike.context import Context, Path
from nodes.ike.gate import Cookies
from nodes.ike.gate import Side as Part
from nodes.ike.isakmp_sa import IsakmpSa
from nodes.ike.phase1 import Phase1
from nodes.ike.profile import Profile

REFUSALS_TOGETHER = 1.0
"""Seconds of which the refused messages are told together."""
_SIDES = {"initiator": Side.SENDER, "responder": Side.RECEIVER}
_REASONS = (
    ("cannot be read", "undecryptable"),
    ("no proposal", "ike-proposal"),
    ("whom we do not expect", "identity"),
    ("no connection with this address", "unknown-peer"),
    ("no child protects", "traffic-selector"),
    ("did not answer", "no-answer"),
    ("major version", "version"),
    ("exchange type", "malformed-header"),
    ("the partner says", "refused"),
    ("the partner deletes", "refused"),
    ("hash", "authentication"),
)
"""What our own words of a failure mean in the method's."""
_NOTHING_ABNORMAL = ("the ISAKMP SA is gone", "the connection was unloaded", "the partner did not go on")


class _Negotiation(NamedTuple):
    """One that failed; ``path``: None where no ISAKMP SA was made for it, which only a receiver may have."""

    initiator_cookie: bytes
    responder_cookie: bytes
    path: Path | None


class AbnormalityGate:
    """The states of an endpoint towards its partners, put into effect.

    Args:
        options: whether the method is in force, and its times.
    """

    def __init__(self, options: AbnormalityOptions) -> None:
        self.on = options.handling == "on"
        self.timing = options.timing
        self._machine = Machine(options.timing)
        self._context: Context
        self._phase1: Phase1
        self._has_pairs: Callable[[Profile], bool]
        self._failures: Failures[_Negotiation] = Failures()
        self._refused = 0

    def attach(self, context: Context, phase1: Phase1, has_pairs: Callable[[Profile], bool]) -> None:
        """Say through which endpoint it acts, and how it is told whether a connection has IPsec SAs."""
        self._context = context
        self._phase1 = phase1
        self._has_pairs = has_pairs

    # ------------------------------------------------------------------ the endpoint asks and tells

    def may_negotiate(self, peer: str, side: Part, now: float) -> bool:
        """Whether a negotiation with the peer of this address may begin, or be answered."""
        return not (self.on and self._machine.is_inactive(peer, _SIDES[side], _ns(now)))

    def failed(self, peer: str, side: Part, cookies: Cookies, reason: str, now: float) -> None:
        """A negotiation failed."""
        if not self.on or reason in _NOTHING_ABNORMAL:
            return
        sa = self._phase1.sas.find(cookies)
        if sa is not None and sa.cookies != cookies:
            sa = None
        what = _meant(reason)
        changes = []
        if (sa is not None and sa.established) or not self._failures.is_settled(None, cookies[0]):
            changes = self._machine.abnormal(peer, _SIDES[side], what, _ns(now))
        self._apply(changes, text=reason[:200], **_said(cookies))
        if changes:
            failed = _Negotiation(*cookies, None if sa is None else sa.path)
            if side == "responder":
                self._failures.answered(peer, failed.initiator_cookie)
            self._failures.failed(peer, _SIDES[side], None, failed, newly=True)
            if side == "responder" and what == "undecryptable":
                self._tell(failed, what)
        if sa is None:
            return
        if sa.established or not sa.initiator:
            self._context.timers.at(now, lambda: self._end(sa))

    def loaded(self, peer: str, peers: frozenset[str], now: float) -> None:
        """A connection has been loaded: its partner's configuration has changed."""
        self._machine.know(peers)
        self._activate(peer, Reason.CONFIGURED, now)

    def unanswered(self, peer: str) -> None:
        """A message is sent again: what the partner was told before may be lost as well."""
        told = self._failures.told(peer)
        if told is not None:
            self._tell(told, MENDED)

    def has_told(self, peer: str) -> bool:
        """Whether a partner was told that this sender is mended, and no negotiation has succeeded since."""
        return self._failures.told(peer) is not None

    def succeeded(self, peer: str, now: float) -> None:
        """A negotiation that replaced nothing came to its end."""
        self._failures.succeeded(peer)
        self._apply(self._machine.succeeded(peer, _ns(now)))

    def informed(self, said: AbnormalInformation, path: Path, now: float) -> None:
        """An abnormal-information message came in."""
        believed = self._mended(said, path, now) if said.reason == MENDED else self._abnormal(said, path)
        if not believed:
            self._refused += 1
            if self._refused == 1:
                self._context.timers.at(now + REFUSALS_TOGETHER, self._tell_refusals)

    # ------------------------------------------------------------------ the operator asks

    def turn(self, *, on: bool, now: float) -> None:
        """Begin, or end and make all active."""
        if self.on and not on:
            self._apply(self._machine.activate(None, Reason.HANDLING_OFF, _ns(now)))
        self.on = on

    def configure(self, timing: Timing, partner: str | None) -> None:
        """Set the times, from the next change on."""
        if partner is None:
            self.timing = timing
        self._machine.configure(timing, partner)

    def timing_of(self, partner: str | None) -> Timing:
        """The times in force."""
        return self.timing if partner is None else self._machine.timing(partner)

    def release(self, partner: str | None, now: float) -> int:
        """Make active by the operator's word; returns how many sides became so."""
        return self._activate(partner, Reason.OPERATOR, now)

    def states(self, now: float) -> tuple[PartnerState, ...]:
        """What is remembered."""
        return tuple(partner_state(record, _ns(now)) for record in self._machine.records())

    def remembers(self, partner: str) -> bool:
        """Whether anything is remembered of an address."""
        return any(record.partner == partner for record in self._machine.records())

    # ------------------------------------------------------------------ messages

    def _abnormal(self, said: AbnormalInformation, path: Path) -> bool:
        cookies = (said.initiator_cookie, said.responder_cookie)
        sa = self._phase1.sas.find(cookies)
        if sa is None or sa.cookies != cookies or sa.established or not sa.initiator:
            return False
        if sa.path.remote != path.remote:
            return False
        self._context.say(
            "abnormality.message.accepted", partner=str(path.remote), reason=said.reason, **_said(cookies)
        )
        self._phase1.abandon(sa, f"the partner calls it abnormal: {said.reason}")
        return True

    def _mended(self, said: AbnormalInformation, path: Path, now: float) -> bool:
        peer = str(path.remote)
        dues = self._failures.mended_there(peer, said.initiator_cookie, said.responder_cookie)
        for _ in dues or ():
            changes = self._machine.mended(peer, _ns(now))
            self._apply(changes)
            if changes:
                cookies = (said.initiator_cookie, said.responder_cookie)
                self._context.say(
                    "abnormality.message.accepted", partner=peer, reason=MENDED, **_said(cookies)
                )
        return dues is not None

    def _tell(self, about: _Negotiation, reason: str) -> None:
        if about.path is None:
            return
        cookies = (about.initiator_cookie, about.responder_cookie)
        said = AbnormalInformation(1, *cookies, reason)
        message_id = int.from_bytes(self._context.random(4), "big")
        self._context.send(about.path, build(said, message_id=message_id))
        self._context.say(
            "abnormality.message.sent", partner=str(about.path.remote), reason=reason, **_said(cookies)
        )

    def _tell_refusals(self) -> None:
        self._context.say("abnormality.message.refused", messages=self._refused)
        self._refused = 0

    # ------------------------------------------------------------------ states

    def _activate(self, partner: str | None, reason: Reason, now: float) -> int:
        changes = self._machine.activate(partner, reason, _ns(now))
        self._apply(changes)
        for change in changes:
            if change.side is Side.RECEIVER:
                self._failures.settle(change.partner, change.side)
                continue
            for due in self._failures.mended_here(change.partner):
                self._tell(due.negotiation, MENDED)
        return len(changes)

    def _apply(self, changes: list[Change], **about: Any) -> None:
        for change in changes:
            kind = "abnormality.active" if change.active else "abnormality.inactive"
            self._context.say(kind, **change.said() | about)
            if not change.active:
                self._context.timers.at(change.until_ns / NS_PER_S, self._due)

    def _due(self) -> None:
        # a timer's moment is a float: never a nanosecond before the time that was set
        self._apply(self._machine.due(_ns(self._context.now) + 1000))

    def _end(self, sa: IsakmpSa) -> None:
        if not (sa.established and self._has_pairs(sa.profile)):
            self._phase1.delete(sa, "abnormal", announce=True)


def _ns(now: float) -> int:
    return round(now * NS_PER_S)


def _meant(reason: str) -> str:
    called = reason.removeprefix("the partner calls it abnormal: ")
    if called != reason:
        return called
    return next((meant for words, meant in _REASONS if words in reason), "other")


def _said(cookies: Cookies) -> dict[str, Any]:
    return {"initiator_spi": cookies[0].hex(), "responder_spi": cookies[1].hex(), "version": 1}
