"""The guard's values in the words of its events and answers. No I/O."""

from __future__ import annotations

from typing import Any, Literal

from nodes.peer.guard.bpf import EXCHANGES
from nodes.peer.guard.wire import Header
from nodes.peer.model import IkeSa


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
