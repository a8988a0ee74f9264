"""Who is inactive, as the guard has said: what the agent goes by between two of its words. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nodes.abnormality.machine import NS_PER_S, Reason, Side
from nodes.abnormality.model import PartnerState
from nodes.events import Event
from nodes.peer.guard.silence import ACTIVE, INACTIVE


class Inactivity:
    """The inactive sides, by partner."""

    def __init__(self) -> None:
        self._inactive: dict[tuple[str, Side], Mapping[str, Any]] = {}

    def heard(self, said: Event) -> None:
        """The guard has said something."""
        if said.kind not in (INACTIVE, ACTIVE):
            return
        key = (said.data["partner"], Side(said.data["side"]))
        if said.kind == INACTIVE:
            self._inactive[key] = said.data
        else:
            self._inactive.pop(key, None)

    def has(self, partner: str) -> bool:
        """Whether a side is inactive towards a partner."""
        return any(partner == one for one, _ in self._inactive)

    def end(self, reason: Reason) -> Iterator[dict[str, Any]]:
        """There is no guard, and so nobody inactive any more; what each change of state says."""
        ended, self._inactive = self._inactive, {}
        for (partner, side), data in ended.items():
            yield {
                "partner": partner,
                "side": side.value,
                "reason": reason.value,
                "times": data["times"],
            }

    def why(self, partner: str, now_ns: int) -> str | None:
        """Until when the sender is inactive towards a partner, and why, in words; None where it is not."""
        data = self._inactive.get((partner, Side.SENDER))
        if data is None or data["until"] <= now_ns:
            return None
        state = PartnerState(
            partner=partner,
            side=Side.SENDER,
            state="inactive",
            until=data["until"],
            for_s=(data["until"] - now_ns) / NS_PER_S,
            reason=data["reason"],
            times=data["times"],
        )
        return state.why()
