"""The methods ``abnormality.*`` of an endpoint, as a peer has them (:mod:`nodes.peer.abnormality`)."""

from __future__ import annotations

import time
from collections.abc import Mapping

import anyio

from nodes import errors
from nodes.abnormality.machine import Side
from nodes.abnormality.message import HEAD_START
from nodes.abnormality.model import (
    Activate,
    Activated,
    Configure,
    Configured,
    Status,
    canonical,
    require_partner,
)
from nodes.control.methods import Handler
from nodes.ike.abnormality import AbnormalityGate
from nodes.ike.driver import Driver


class AbnormalityMethods:
    """Answers the calls about method 2.

    Args:
        gate: the states.
        driver: of the endpoint's core.
    """

    def __init__(self, gate: AbnormalityGate, driver: Driver) -> None:
        self._gate = gate
        self._driver = driver

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by name."""
        return {
            "abnormality.configure": self.configure,
            "abnormality.status": self.status,
            "abnormality.activate": self.activate,
        }

    async def configure(self, asked: Configure) -> Configured:
        """Set what is in force from now on.

        Raises:
            ParameterError: these are no times, or there is no such partner.
        """
        partner = None if asked.partner is None else self._partner(asked.partner)
        try:
            timing = asked.applied_to(self._gate.timing_of(partner))
        except ValueError as error:
            raise errors.ParameterError(f"abnormality.configure: {error}") from None
        self._gate.configure(timing, partner)
        if asked.handling is not None:
            self._gate.turn(on=asked.handling == "on", now=self._now())
        self._driver.drain()
        return Configured(
            handling="on" if self._gate.on else "off", timing=timing, warnings=timing.warnings()
        )

    async def status(self) -> Status:
        """What is in force, and what is remembered of each partner."""
        return Status(
            handling="on" if self._gate.on else "off",
            running=self._gate.on,
            pid=0,
            timing=self._gate.timing,
            partners=self._gate.states(self._now()),
            warnings=self._gate.timing.warnings(),
        )

    async def activate(self, asked: Activate) -> Activated:
        """Make a partner, or all, active at once, by the operator's word.

        Raises:
            ParameterError: there is no such partner.
        """
        partner = asked.partner
        if partner is not None and not self._gate.remembers(partner := canonical(partner)):
            self._partner(partner)
        activated = self._gate.release(partner, self._now())
        self._driver.drain()
        return Activated(activated=activated)

    async def loaded(self, peer: str) -> None:
        """A connection has been loaded; a partner who is told that this sender is mended has time to act."""
        if self._gate.has_told(peer):
            await anyio.sleep(HEAD_START)

    def begin(self, peer: str) -> None:
        """See that a negotiation may be begun.

        Raises:
            InactiveError: the sender is inactive towards this partner.
        """
        why = self.why_inactive(peer)
        if why is not None:
            raise errors.InactiveError(f"no negotiation is begun: {why}")

    def why_inactive(self, peer: str) -> str | None:
        """Until when the sender is inactive towards a partner, and why; None where it is not."""
        for state in self._gate.states(self._now()) if self._gate.on else ():
            if (state.partner, state.side, state.state) == (peer, Side.SENDER, "inactive"):
                return state.why()
        return None

    def _partner(self, partner: str) -> str:
        return require_partner(partner, {profile.peer for profile in self._driver.endpoint.profiles.values()})

    @staticmethod
    def _now() -> float:
        return time.monotonic()
