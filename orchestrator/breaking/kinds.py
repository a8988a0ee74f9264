"""The kinds of abnormality, and at which end of a negotiation each is made. No I/O."""

from __future__ import annotations

import difflib
import enum

from nodes import errors


class Side(enum.StrEnum):
    """The sender begins the negotiation, the receiver answers it (the method's own words)."""

    SENDER = "sender"
    RECEIVER = "receiver"


class Kind(enum.StrEnum):
    """What is wrong with a negotiation."""

    IKE_PROPOSAL = "ike-proposal"
    ESP_PROPOSAL = "esp-proposal"
    PSK = "psk"
    ID_INITIATOR = "id-initiator"
    ID_RESPONDER = "id-responder"
    TRAFFIC_SELECTOR = "traffic-selector"
    UNKNOWN_PEER = "unknown-peer"
    VERSION = "version"
    MALFORMED_HEADER = "malformed-header"
    MALFORMED_PAYLOAD = "malformed-payload"
    CORRUPTED_ENCRYPTED = "corrupted-encrypted"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_UNTRUSTED = "certificate-untrusted"
    DEAD_PEER = "dead-peer"
    THIRD_PARTY_FLOOD = "third-party-flood"


KINDS = tuple(kind.value for kind in Kind)
MISCONFIGURED = frozenset(
    {
        *(Kind.IKE_PROPOSAL, Kind.ESP_PROPOSAL, Kind.PSK, Kind.ID_INITIATOR, Kind.ID_RESPONDER),
        *(Kind.TRAFFIC_SELECTOR, Kind.CERTIFICATE_EXPIRED, Kind.CERTIFICATE_UNTRUSTED),
    }
)
"""The sender's own connection is wrong."""
ON_THE_WIRE = frozenset(
    {Kind.VERSION, Kind.MALFORMED_HEADER, Kind.MALFORMED_PAYLOAD, Kind.CORRUPTED_ENCRYPTED}
)
"""The sender is right, and what it sends is changed on its way."""
WITH_CERTIFICATES = frozenset({Kind.CERTIFICATE_EXPIRED, Kind.CERTIFICATE_UNTRUSTED})


def side_of(kind: Kind) -> Side:
    """The end at which an abnormality is made."""
    return Side.SENDER if kind in MISCONFIGURED | ON_THE_WIRE else Side.RECEIVER


def kind_of(word: str) -> Kind:
    """The kind that a user's word names.

    Raises:
        UsageError: it names none; the text has those that there are.
    """
    if word in KINDS:
        return Kind(word)
    near = difflib.get_close_matches(word, KINDS, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise errors.UsageError(f"no kind of abnormality {word!r}; there are {', '.join(KINDS)}{meant}")
