"""Abnormalities that are made on the wire: a real sender's messages changed by the fault engine. No I/O."""

from __future__ import annotations

from typing import Literal

from orchestrator.breaking.kinds import Kind

FIRST_PAYLOAD_LENGTH = 30
"""The octet of an IKE message with the high half of its first payload's length (RFC 2408 §3.2)."""
WITHIN_ENCRYPTED = {1: 40, 2: 60}
"""An octet behind all that is in clear of main mode's fifth message, and of IKE_AUTH's request."""


def rules(kind: Kind, version: Literal[1, 2], sender: str) -> tuple[str, ...]:
    """The faults that make an abnormality, in words, as docs/faults.md has them; none for other kinds.

    Every such message is changed, also when it is sent again: so the sender never gets through.
    """
    first = "main-mode 1" if version == 1 else "ike-sa-init 1"
    encrypted = "main-mode 5" if version == 1 else "ike-auth 1"
    where = {
        Kind.VERSION: f"{first} field version",
        Kind.MALFORMED_HEADER: f"{first} field exchange-type",
        Kind.MALFORMED_PAYLOAD: f"{first} octet {FIRST_PAYLOAD_LENGTH}",
        Kind.CORRUPTED_ENCRYPTED: f"{encrypted} octet {WITHIN_ENCRYPTED[version]}",
    }
    if kind not in where:
        return ()
    return (f"corrupt {where[kind]} from {sender} always with retransmissions",)


DEAF_TABLE = "hopbed-deaf"
DEAF = f"""\
table inet {DEAF_TABLE}
delete table inet {DEAF_TABLE}
table inet {DEAF_TABLE} {{
    chain input {{
        type filter hook input priority 0
        udp dport 500 drop
        udp dport 4500 @th,64,32 0 drop
    }}
}}
"""
"""nft's words for a node that hears no IKE; ESP in UDP, which has no such marker (RFC 3948), still passes."""
HEARING = f"table inet {DEAF_TABLE}\ndelete table inet {DEAF_TABLE}\n"
"""Takes it away, also where it does not stand."""
