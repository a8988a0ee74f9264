"""What a closed hop tells of itself. No I/O."""

from __future__ import annotations

from collections import Counter
from typing import Any

from nodes.terminal.hops import Exchange, Hop
from nodes.terminal.plan import NS_PER_MS

PHASES = ("asked", "answered", "prepared", "switched", "acknowledged", "closing", "closed")


def phases(hop: Hop, grace: int) -> dict[str, Any]:
    """The data of ``hop.closed``: when each phase was reached with the last partner, ms after the hop began.

    ``outcomes`` counts services; ``retired`` says whether the first address is gone, which it is not while
    services are kept on it.
    """
    reached: dict[str, float] = {}
    if hop.ready is not None:
        reached["ready"] = _ms(hop.ready - hop.began)
    for phase in PHASES:
        times = [time for exchange in hop.exchanges if (time := getattr(exchange, phase)) is not None]
        if times:
            reached[phase] = _ms(max(times) - hop.began)
    if hop.closed is not None:
        reached["closed"] = _ms(hop.closed - hop.began)
    items = [item for exchange in hop.exchanges for item in exchange.items] + hop.alone
    outcomes = Counter(str(item.outcome) for item in items if item.outcome is not None)
    if hop.ended_before:
        outcomes["ended-before"] += hop.ended_before
    rtts = [exchange.rtt for exchange in hop.exchanges if exchange.rtt is not None]
    return {
        "hop": hop.number,
        "first": str(hop.first),
        "second": str(hop.second),
        "phases_ms": reached,
        "rtt_ms": _ms(max(rtts)) if rtts else None,
        "grace_ms": _ms(grace),
        "outcomes": dict(outcomes),
        "partners": {exchange.pair: outcome_of(exchange) for exchange in hop.exchanges},
        "retired": hop.retired is not None,
    }


def outcome_of(exchange: Exchange) -> str:
    """What became of the exchange with one partner."""
    if exchange.failed is not None:
        return exchange.failed.value
    return "told" if exchange.acknowledged is not None else "open"


def _ms(duration: int) -> float:
    return round(duration / NS_PER_MS, 3)
