"""The guard's values in the words of its events and answers. No I/O."""

from __future__ import annotations

from typing import Any, Literal

from nodes.abnormality.machine import Change, Record
from nodes.abnormality.model import PartnerState
from nodes.peer.guard.bpf import EXCHANGES
from nodes.peer.guard.wire import Header
from nodes.peer.model import IkeSa


def change_said(change: Change) -> dict[str, Any]:
    """A change of state as an event's data."""
    said: dict[str, Any] = {
        "partner": change.partner,
        "side": change.side.value,
        "reason": str(change.reason),
        "times": change.times,
    }
    if not change.active:
        said |= {"for_s": round(change.for_ns / 1e9, 3), "until": change.until_ns}
    return said


def state(record: Record, now_ns: int) -> PartnerState:
    """What is remembered of one partner and side."""
    inactive = record.until_ns > now_ns
    return PartnerState(
        partner=record.partner,
        side=record.side,
        state="inactive" if inactive else "active",
        until=record.until_ns if inactive else 0,
        for_s=(record.until_ns - now_ns) / 1e9 if inactive else 0.0,
        reason=record.reason,
        times=record.times,
    )


def header_said(header: Header) -> dict[str, Any]:
    """A message's cookies and exchange as an event's data."""
    return {
        "initiator_spi": header.initiator_cookie.hex(),
        "responder_spi": header.responder_cookie.hex(),
        "version": version_of(header),
        "exchange": header.exchange,
    }


def sa_said(sa: IkeSa) -> dict[str, Any]:
    """An IKE SA's cookies as an event's data."""
    return {
        "initiator_spi": sa.initiator_spi,
        "responder_spi": sa.responder_spi,
        "version": sa.version,
        "ike_id": sa.unique_id,
    }


def version_of(header: Header) -> Literal[1, 2]:
    """The version of IKE that a message is of, by its exchange where the version itself may be what is
    wrong."""
    for version in (1, 2):
        if header.exchange in EXCHANGES[version]:
            return 1 if version == 1 else 2
    return 1 if header.version >> 4 == 1 else 2
