"""The two moments of each SA that was negotiated: told by the nodes, and seen in a capture. No I/O.

An SA is *installed* when packets under it are accepted, and *effective* when packets leave under it. Stock
IKEv1 has one moment for both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nodes.events import Event
from orchestrator.report.quick_modes import QuickMode
from orchestrator.report.sa_lines import OnTheWire

INSTALLED = "child-sa.installed"
EFFECTIVE = "child-sa.effective"
REKEYED = "child-sa.rekeyed"


@dataclasses.dataclass(kw_only=True)
class Negotiated:
    """A pair of SAs, as both ends tell of it. Times are CLOCK_MONOTONIC; None is what was not told.

    Attributes:
        there: the SPI of the SA from the initiator to the responder, 8 hexadecimal digits.
        back: of the other one.
        initiator_ns: when the initiator had it.
        installed_ns: when the responder had installed it.
        effective_ns: when the responder had made it effective.
        by: what made it so: ``esp``, ``qm3``; empty where the daemon has no such choice.
    """

    there: str
    back: str
    initiator_ns: int
    installed_ns: int | None = None
    effective_ns: int | None = None
    by: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moments:
    """A pair of SAs with its packets: its Quick Mode, and the ESP under either SPI; None: not seen."""

    sa: Negotiated
    exchange: QuickMode | None
    there: OnTheWire | None
    back: OnTheWire | None

    @property
    def installed_before_second(self) -> bool:
        """Whether the responder had the SA before its second message was on the wire."""
        return (
            self.sa.installed_ns is not None
            and self.exchange is not None
            and self.exchange.second is not None
            and self.sa.installed_ns <= self.exchange.second.time_ns
        )

    @property
    def third_came_first(self) -> bool:
        """Whether the third message was on the wire before the responder told that it had the SA."""
        return self.sa.installed_ns is not None and self._third_by(self.sa.installed_ns)

    @property
    def effective_for_a_reason(self) -> bool:
        """Whether what the responder says made the SA effective was on the wire by then."""
        effective_ns = self.sa.effective_ns
        if effective_ns is None:
            return False
        if self.sa.by == "esp":
            return self.there is not None and self.there.first_ns <= effective_ns
        return self._third_by(effective_ns)

    @property
    def esp_before_third(self) -> bool:
        """Whether ESP from the initiator under the new SPI was there before the third message, or without."""
        if self.there is None or self.exchange is None:
            return False
        third = self.exchange.third
        return third is None or self.there.first_ns < third.time_ns

    @property
    def installed_ms(self) -> float | None:
        """From the first message on the wire until the SA was installed at the responder."""
        return self._since_first(self.sa.installed_ns)

    @property
    def effective_ms(self) -> float | None:
        """From the first message on the wire until the SA was effective at the responder."""
        return self._since_first(self.sa.effective_ns)

    def _third_by(self, time_ns: int) -> bool:
        third = self.exchange.third if self.exchange is not None else None
        return third is not None and third.time_ns <= time_ns

    def _since_first(self, time_ns: int | None) -> float | None:
        if time_ns is None or self.exchange is None:
            return None
        return (time_ns - self.exchange.first.time_ns) / 1e6


def negotiated(events: Iterable[Event], initiator: str, responder: str) -> list[Negotiated]:
    """The pairs of SAs that both ends tell of, in the order in which the initiator had them.

    A daemon that does not tell of ``child-sa.effective`` has installed and effective in one moment.

    Args:
        events: of the run, in any order.
        initiator, responder: the nodes' names.
    """
    pairs: dict[str, Negotiated] = {}
    installed: dict[str, int] = {}
    effective: dict[str, tuple[int, str]] = {}
    for event in sorted(events, key=lambda one: one.time_ns):
        data = _new_sa(event)
        if data is None:
            continue
        spi_in, spi_out = str(data.get("spi_in")), str(data.get("spi_out"))
        if event.node == initiator and event.kind != EFFECTIVE:
            pairs.setdefault(spi_out, Negotiated(there=spi_out, back=spi_in, initiator_ns=event.time_ns))
        elif event.node == responder and event.kind == EFFECTIVE:
            effective.setdefault(spi_in, (event.time_ns, str(event.data.get("reason", ""))))
        elif event.node == responder:
            installed.setdefault(spi_in, event.time_ns)
    for spi, pair in pairs.items():
        pair.installed_ns = installed.get(spi)
        if effective:
            pair.effective_ns, pair.by = effective.get(spi, (None, ""))
        else:
            pair.effective_ns = pair.installed_ns
    return list(pairs.values())


def moments(
    pairs: Sequence[Negotiated], exchanges: Sequence[QuickMode], wire: Mapping[str, OnTheWire]
) -> list[Moments]:
    """Each pair with its packets: its Quick Mode is the last one whose second message came before it."""
    found = []
    for pair in pairs:
        of_it = [
            exchange
            for exchange in exchanges
            if exchange.second is not None and exchange.second.time_ns <= pair.initiator_ns
        ]
        last = max(of_it, key=lambda one: one.second.time_ns if one.second else 0, default=None)
        found.append(Moments(sa=pair, exchange=last, there=wire.get(pair.there), back=wire.get(pair.back)))
    return found


def _new_sa(event: Event) -> Mapping[str, Any] | None:
    """The CHILD_SA that an event tells is there now, or effective."""
    if event.kind in (INSTALLED, EFFECTIVE):
        return event.data
    new = event.data.get("new") if event.kind == REKEYED else None
    return new if isinstance(new, Mapping) else None
