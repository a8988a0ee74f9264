"""The life of pairs of IPsec SAs: installed, effective, old, deleted. No I/O.

A pair is *installed* when its inbound half accepts packets, and *effective* when its outbound half is in
use. The outbound half of the pair before it rests then; its inbound half accepts packets until DELETE, until
it has been silent for a while, or until the hard lifetime: what is under way is not lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from nodes.ike.context import Context, Result
from nodes.ike.dataplane.base import FirstPacket, LimitReached
from nodes.ike.ipsec_sa import IpsecSa, PairState, fields
from nodes.ike.profile import ChildProfile, Profile

RETRY_REKEY = 10.0
"""Seconds after which a rekey that failed is tried again, at most."""


class Negotiations(Protocol):
    """What the life cycle needs of the endpoint."""

    def rekey_pair(self, pair: IpsecSa) -> bool:
        """Begin a Quick Mode that replaces a pair; False: it cannot begin now."""

    def announce_deletion(self, pair: IpsecSa) -> None:
        """Send a DELETE for a pair, if there is an ISAKMP SA to send it under."""

    def quick_mode_under_way(self, profile: Profile) -> bool:
        """Whether a Quick Mode with this partner is under way."""

    def ike_id(self, profile: Profile) -> int:
        """The id of the ISAKMP SA that pairs of this connection belong to; 0: there is none."""

    def heard_esp(self, profile: Profile) -> None:
        """An authenticated ESP packet came from this partner."""

    def confirmed_by_esp(self, pair: IpsecSa) -> None:
        """The partner has shown by an ESP packet that it has the pair."""


class Lifecycle:
    """Every pair of the endpoint.

    Args:
        context: of the endpoint.
        negotiations: of the endpoint.
    """

    def __init__(self, context: Context, negotiations: Negotiations) -> None:
        self._context = context
        self._negotiations = negotiations
        self._pairs: dict[int, IpsecSa] = {}
        """By inbound SPI."""

    @property
    def pairs(self) -> list[IpsecSa]:
        """The pairs that accept packets, oldest first."""
        return [pair for pair in self._pairs.values() if pair.live]

    def by_inbound(self, spi: int) -> IpsecSa | None:
        """The pair with this inbound SPI."""
        return self._pairs.get(spi)

    def by_outbound(self, profile: Profile, spi: int) -> IpsecSa | None:
        """The pair with this outbound SPI, which the partner chose."""
        return next(
            (
                pair
                for pair in self._pairs.values()
                if pair.outbound.spi == spi and pair.profile.remote == profile.remote
            ),
            None,
        )

    def of(self, profile: Profile, child: ChildProfile | None = None) -> list[IpsecSa]:
        """The pairs of a connection, or of one of its children, oldest first."""
        return [
            pair
            for pair in self.pairs
            if pair.profile.name == profile.name and (child is None or pair.child.name == child.name)
        ]

    def current(self, profile: Profile, child: ChildProfile) -> IpsecSa | None:
        """The pair whose outbound half is in use."""
        effective = [pair for pair in self.of(profile, child) if pair.state is PairState.EFFECTIVE]
        return effective[-1] if effective else None

    def newest(self, profile: Profile, child: ChildProfile) -> IpsecSa | None:
        """The pair that a new one would replace: the one in use, else the last one installed."""
        pairs = self.of(profile, child)
        return self.current(profile, child) or (pairs[-1] if pairs else None)

    def new_spi(self) -> int:
        """An SPI that none of our inbound SAs has."""
        while True:
            spi = int.from_bytes(self._context.random(4), "big")
            if spi > 0xFFF and spi not in self._pairs:
                return spi

    # ------------------------------------------------------------------ installed, effective

    def install(self, pair: IpsecSa, done: Callable[[str | None], None]) -> None:
        """Install the inbound half; ``done`` is told when packets are accepted, or why they are not."""
        self._pairs[pair.inbound.spi] = pair

        def finished(result: Result) -> None:
            if pair.state is PairState.DELETED:
                return
            if result.error is not None:
                self._forget(pair)
                done(result.error)
                return
            pair.state = PairState.INSTALLED
            pair.installed_at = self._context.now
            self._say("child-sa.installed", pair)
            self._start_lifetime(pair)
            done(None)

        self._context.order("install_inbound", pair.inbound, finished)

    def await_confirmation(self, pair: IpsecSa, seconds: float) -> None:
        """Remove the pair if nothing has made it effective by then; what it was to replace serves on."""

        def due() -> None:
            if pair.state is PairState.INSTALLED and not pair.activating:
                self.delete(pair, "not-confirmed", announce=True)

        self._at(pair, self._context.now + seconds, due)

    def make_effective(
        self, pair: IpsecSa, reason: str, done: Callable[[str | None], None] | None = None
    ) -> None:
        """Install the outbound half, which is in use at once; what was in use before becomes old."""
        if pair.state is not PairState.INSTALLED or pair.activating:
            return
        pair.activating = True

        def finished(result: Result) -> None:
            pair.activating = False
            if pair.state is not PairState.INSTALLED:
                return
            if result.error is not None:
                self.delete(pair, "not-installed", announce=True)
            else:
                before = self.of(pair.profile, pair.child)
                pair.state, pair.effective_by = PairState.EFFECTIVE, reason
                self._say("child-sa.effective", pair, reason=reason)
                for other in before:
                    if other is not pair and other.state is PairState.EFFECTIVE:
                        self._retire(other, pair)
            if done is not None:
                done(result.error)

        self._context.order("install_outbound", pair.outbound, finished)

    def make_effective_after(
        self, pair: IpsecSa, reason: str, seconds: float, done: Callable[[str | None], None]
    ) -> None:
        """The same after a while in which the pair before it serves on; at once where there is none."""
        if not seconds or self.current(pair.profile, pair.child) is None:
            self.make_effective(pair, reason, done)
            return
        self._at(pair, self._context.now + seconds, lambda: self.make_effective(pair, reason, done))

    def _retire(self, old: IpsecSa, new: IpsecSa) -> None:
        """Another pair is in use: nothing goes under the old one any more; delete it once it is silent.

        Its outbound half stays where it is, unused: should the new pair go, it serves on with its sequence
        numbers. To install it again would begin them anew, and use a nonce of AES-GCM twice.
        """
        old.state = PairState.OLD
        self._say("child-sa.old", old, by=new.spis)
        self._context.say(
            "child-sa.rekeyed",
            **self._of(new),
            name=new.child.name,
            old=fields(old, self._context.now),
            new=fields(new, self._context.now),
        )
        self._delete_when_silent(old, None)

    def _delete_when_silent(self, old: IpsecSa, packets: int | None) -> None:
        """Delete an old pair when its partner sends under the one in use, and under the old one no more."""

        def counted(result: Result) -> None:
            if old.state is not PairState.OLD:
                return
            usage = (result.usage or {}).get(("in", old.inbound.spi))
            now_packets = None if usage is None else usage.packets
            silent = now_packets is not None and now_packets == packets
            in_use = self.current(old.profile, old.child)
            heard = in_use is not None and in_use.heard
            if silent and heard and not self._negotiations.quick_mode_under_way(old.profile):
                self.delete(old, "rekeyed", announce=True)
            else:
                self._delete_when_silent(old, now_packets)

        def look() -> None:
            self._context.order("usage", None, counted)

        self._at(old, self._context.now + self._context.options.retire_after, look)

    # ------------------------------------------------------------------ lifetimes

    def _start_lifetime(self, pair: IpsecSa) -> None:
        now, config = self._context.now, pair.child.config
        if pair.life_time:
            pair.hard_at = now + pair.life_time
            self._at(pair, pair.hard_at, lambda: self._hard(pair))
        soft = config.rekey_time
        if soft and pair.life_time and soft >= pair.life_time:  # the partner wants it shorter than we do
            soft = pair.life_time - max(1, pair.life_time // 10)
        if soft and config.rand_time:
            soft -= int.from_bytes(self._context.random(4), "big") % (config.rand_time + 1)
        if soft > 0:
            pair.soft_at = now + soft
            self._at(pair, pair.soft_at, lambda: self._soft(pair))

    def _soft(self, pair: IpsecSa) -> None:
        """The soft lifetime: rekey, unless another pair is in use, or is about to be."""
        newer = any(
            other is not pair and other.replaces is pair and other.live
            for other in self.of(pair.profile, pair.child)
        )
        if pair.state is not PairState.EFFECTIVE or pair.rekeying or newer:
            return
        self._context.say("child-sa.soft-lifetime", **self._of(pair), **fields(pair, self._context.now))
        pair.rekeying = True
        if not self._negotiations.rekey_pair(pair):
            self.rekey_failed(pair)

    def rekey_failed(self, pair: IpsecSa) -> None:
        """A Quick Mode that was to replace a pair came to nothing: try again while the pair lives."""
        pair.rekeying = False
        if pair.state is not PairState.EFFECTIVE:
            return
        wait = RETRY_REKEY
        if pair.hard_at is not None:
            wait = max(0.5, min(wait, (pair.hard_at - self._context.now) / 4))
        self._at(pair, self._context.now + wait, lambda: self._soft(pair))

    def _hard(self, pair: IpsecSa) -> None:
        self.delete(pair, "hard-lifetime", announce=True)

    def limit_reached(self, event: LimitReached) -> None:
        """A pair has carried as much as it should, or may."""
        pair = next(
            (
                one
                for one in self._pairs.values()
                if event.spi == (one.inbound.spi if event.direction == "in" else one.outbound.spi)
            ),
            None,
        )
        if pair is None:
            return
        if event.severity == "hard":
            self._hard(pair)
        else:
            self._soft(pair)

    def first_packet(self, event: FirstPacket) -> None:
        """The first authenticated packet under a pair: the initiator has it (seed, S208)."""
        pair = self._pairs.get(event.spi)
        if pair is None:
            return
        pair.heard = True
        self._negotiations.heard_esp(pair.profile)
        config = pair.profile.config
        trigger = config.esp_trigger if config.esp_trigger is not None else self._context.options.esp_trigger
        if trigger and not pair.initiator:
            self.make_effective(pair, "esp")
            self._negotiations.confirmed_by_esp(pair)

    # ------------------------------------------------------------------ deleted

    def delete(self, pair: IpsecSa, reason: str, *, announce: bool) -> None:
        """Remove both halves; with ``announce`` the partner is told."""
        if pair.state is PairState.DELETED:
            return
        was_live = pair.live
        if announce and was_live:
            self._negotiations.announce_deletion(pair)
        self._context.order("remove_outbound", pair.outbound.spi)
        self._context.order("remove_inbound", pair.inbound.spi)
        self._forget(pair)
        if was_live:
            self._say("child-sa.deleted", pair, reason=reason)
        gone, pair.gone = pair.gone, None
        if gone is not None:
            gone(reason)

    def deleted_by_partner(self, pair: IpsecSa) -> None:
        """The partner has deleted a pair: the one before it, if it is still there, serves again.

        The data plane does so by itself: the newest outbound SA that is left is the one in use.
        """
        was_in_use = pair.state is PairState.EFFECTIVE
        self.delete(pair, "delete", announce=False)
        left = [one for one in self.of(pair.profile, pair.child) if one.state is PairState.OLD]
        if not was_in_use or not left:
            return
        left[-1].state = PairState.EFFECTIVE
        self._say("child-sa.effective", left[-1], reason="restored")

    def _forget(self, pair: IpsecSa) -> None:
        pair.stop_timers()
        pair.state = PairState.DELETED
        pair.replaces = None
        self._pairs.pop(pair.inbound.spi, None)

    # ------------------------------------------------------------------ what is told

    def _at(self, pair: IpsecSa, when: float, action: Callable[[], None]) -> None:
        pair.timers = [timer for timer in pair.timers if timer.pending]
        pair.timers.append(self._context.timers.at(when, action))

    def _of(self, pair: IpsecSa) -> dict[str, Any]:
        return {
            "ike": pair.profile.name,
            "ike_id": self._negotiations.ike_id(pair.profile),
            "version": 1,
        }

    def _say(self, kind: str, pair: IpsecSa, **more: Any) -> None:
        self._context.say(kind, **self._of(pair), **fields(pair, self._context.now), **more)
