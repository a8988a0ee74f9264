"""The life of ISAKMP SAs that are up: soft and hard lifetime, dead peers, taking over. No I/O.

There is no rekey of an ISAKMP SA in IKEv1: another main mode makes another SA, which takes over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from nodes.ike.context import Context
from nodes.ike.dpd import DeadPeerDetection
from nodes.ike.isakmp_sa import IsakmpSa
from nodes.ike.isakmp_sa_table import IsakmpSaTable
from nodes.ike.messages.vendor_id import VendorId
from nodes.ike.profile import Profile

SUPERSEDED = 10.0
"""Seconds that an ISAKMP SA lives on when another has taken over, as charon's."""
RETRY_REKEY = 10.0
MAX_PER_PARTNER = 16
"""ISAKMP SAs of one connection that are up; the oldest makes way for another."""

Wanting = Callable[[IsakmpSa | None, str], None]
"""Told of an ISAKMP SA that is up, or why there is none."""


class MainModes(Protocol):
    """What the life cycle needs of phase 1."""

    def rekey(self, profile: Profile, wanting: Wanting) -> None:
        """Negotiate another ISAKMP SA, which takes over from the one that is up."""

    def delete(self, sa: IsakmpSa, reason: str, *, announce: bool) -> None:
        """End an SA; with ``announce`` the partner is told, if it is up."""


class IsakmpLifecycle:
    """Ends each ISAKMP SA when it is time.

    Args:
        context: of the endpoint.
        sas: the ISAKMP SAs.
        main_modes: phase 1.
        last_esp: tells when the last authenticated ESP packet came from a partner, in the clock's seconds.
    """

    def __init__(
        self,
        context: Context,
        sas: IsakmpSaTable,
        main_modes: MainModes,
        last_esp: Callable[[Profile, Callable[[float], None]], None],
    ) -> None:
        self._context = context
        self._sas = sas
        self._main_modes = main_modes
        self._last_esp = last_esp

    def up(self, sa: IsakmpSa) -> None:
        """An SA is up: its lifetimes begin, and those before it go."""
        config = sa.profile.config
        if config.rekey_time:
            life = sa.profile.life_time
            self._sas.at(sa, self._context.now + config.rekey_time, lambda: self._soft(sa))
            self._sas.at(
                sa,
                self._context.now + life,
                lambda: self._main_modes.delete(sa, "hard-lifetime", announce=False),
            )
        if sa.speaks(VendorId.DEAD_PEER_DETECTION):
            self._sas.entry(sa).dpd = DeadPeerDetection(
                sa,
                config.dpd_delay,
                config.dpd_timeout,
                last_esp=lambda told: self._last_esp(sa.profile, told),
                dead=lambda: self._main_modes.delete(sa, "dpd", announce=False),
            )
        self._supersede(sa)

    def _supersede(self, sa: IsakmpSa) -> None:
        """Let those go that were up before this one's main mode began: it has taken over."""
        older = [one for one in self._sas.established(sa.profile) if one is not sa]
        for one in older:
            if (one.established_at or 0.0) <= sa.created_at:
                gone = partial(self._main_modes.delete, one, "rekeyed", announce=True)
                self._sas.at(one, self._context.now + SUPERSEDED, gone)
        for one in older[: max(0, len(older) + 1 - MAX_PER_PARTNER)]:
            self._main_modes.delete(one, "rekeyed", announce=True)

    def _soft(self, sa: IsakmpSa) -> None:
        if not sa.established or self._sas.newest(sa.profile) is not sa:
            return

        def over(new: IsakmpSa | None, reason: str) -> None:  # noqa: ARG001
            if new is None and sa.established:
                self._sas.at(sa, self._context.now + RETRY_REKEY, lambda: self._soft(sa))

        self._main_modes.rekey(sa.profile, over)
