"""Whether a negotiation may go on with a peer: the seam for method 2 (abnormal negotiations)."""

from __future__ import annotations

from typing import Literal, Protocol

Side = Literal["initiator", "responder"]
Cookies = tuple[bytes, bytes]


class Gate(Protocol):
    """Asked before the endpoint starts or answers a negotiation, and told of each that failed."""

    def may_negotiate(self, peer: str, side: Side, now: float) -> bool:
        """Whether a negotiation with the peer of this address may begin, or be answered."""

    def failed(self, peer: str, side: Side, cookies: Cookies, reason: str, now: float) -> None:
        """A negotiation failed; ``cookies`` are the initiator's and the responder's, zeros if not known."""


class OpenGate:
    """The gate that lets everything through."""

    def may_negotiate(self, peer: str, side: Side, now: float) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def failed(self, peer: str, side: Side, cookies: Cookies, reason: str, now: float) -> None:
        """Nothing comes of it."""
