"""Whether a negotiation may go on with a peer: the seam for method 2 (abnormal negotiations)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from nodes.abnormality.message import AbnormalInformation

if TYPE_CHECKING:
    from nodes.ike.context import Path

Side = Literal["initiator", "responder"]
Cookies = tuple[bytes, bytes]


class Gate(Protocol):
    """Asked before the endpoint starts or answers a negotiation, and told of each that ended."""

    def may_negotiate(self, peer: str, side: Side, now: float) -> bool:
        """Whether a negotiation with the peer of this address may begin, or be answered."""

    def failed(self, peer: str, side: Side, cookies: Cookies, reason: str, now: float) -> None:
        """A negotiation failed; ``cookies`` are the initiator's and the responder's, zeros if not known."""

    def succeeded(self, peer: str, now: float) -> None:
        """A negotiation that replaced nothing came to its end."""

    def unanswered(self, peer: str) -> None:
        """The peer did not answer in time: a message of a negotiation with it is sent again."""

    def loaded(self, peer: str, peers: frozenset[str], now: float) -> None:
        """A connection with a peer has been loaded; ``peers`` are those of all that are."""

    def informed(self, said: AbnormalInformation, path: Path, now: float) -> None:
        """An abnormal-information message came in."""


class OpenGate:
    """The gate that lets everything through."""

    def may_negotiate(self, peer: str, side: Side, now: float) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def failed(self, peer: str, side: Side, cookies: Cookies, reason: str, now: float) -> None:
        """Nothing comes of it."""

    def succeeded(self, peer: str, now: float) -> None:
        """Nothing comes of it."""

    def unanswered(self, peer: str) -> None:
        """Nothing comes of it."""

    def loaded(self, peer: str, peers: frozenset[str], now: float) -> None:
        """Nothing comes of it."""

    def informed(self, said: AbnormalInformation, path: Path, now: float) -> None:
        """Nothing comes of it."""
