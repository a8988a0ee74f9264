"""The payload chain of an IKE message, as far as it can be read without keys. Octets in, names out.

IKEv1: RFC 2408, section 3; its messages are encrypted whole after the header, which a flag says. IKEv2:
RFC 7296, section 3; what is secret stands in an SK payload, which is the last one.
"""

from __future__ import annotations

import dataclasses
import struct

from orchestrator.report.ike_names import ENCRYPTED_PAYLOADS, NOTIFIES, NOTIFY, PAYLOADS

HEADER = 28
FLAG_ENCRYPTED = 0x01
FLAG_INITIATOR = 0x08
FLAG_RESPONSE = 0x20

ENCRYPTED = "encrypted"
_MOST = 64
"""Payloads that are followed in one message; more are a forged chain."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chain:
    """What a message holds.

    Attributes:
        payloads: their names in order; ``encrypted`` for what cannot be read.
        notifies: the names of the notifies that can be read.
        problem: why the chain cannot be followed to its end; empty where it can.
    """

    payloads: tuple[str, ...]
    notifies: tuple[str, ...] = ()
    problem: str = ""


def chain(message: bytes) -> Chain:
    """The chain of a message that begins with the IKE header.

    ``message`` may be cut short or malformed in any way: then the chain says where it ends.
    """
    if len(message) < HEADER:
        return Chain(payloads=(), problem=f"{len(message)} octets are no IKE header")
    version, flags = message[17] >> 4, message[19]
    names = PAYLOADS.get(version)
    if names is None:
        return Chain(payloads=(), problem=f"IKE version {version}")
    if version == 1 and flags & FLAG_ENCRYPTED:
        return Chain(payloads=(ENCRYPTED,))
    found: list[str] = []
    notifies: list[str] = []
    problem = _follow(message, version, found, notifies)
    return Chain(payloads=tuple(found), notifies=tuple(notifies), problem=problem)


def _follow(message: bytes, version: int, found: list[str], notifies: list[str]) -> str:
    """Follow the chain; return what is wrong with it."""
    kind, at = message[16], HEADER
    length = int.from_bytes(message[24:28], "big")
    while kind and len(found) < _MOST:
        name = PAYLOADS[version].get(kind, f"payload {kind}")
        if at + 4 > len(message):
            return f"{name} would begin at octet {at}, where the message ends"
        following, size = message[at], int.from_bytes(message[at + 2 : at + 4], "big")
        if size < 4 or at + size > len(message):
            return f"{name} at octet {at} says that it has {size} octets"
        if kind in ENCRYPTED_PAYLOADS and version == 2:
            found.append(f"{name}{{{ENCRYPTED}}}")
            return ""
        if kind == NOTIFY[version]:
            notifies.append(_notify(message[at : at + size], version))
            name = f"{name}({notifies[-1]})"
        found.append(name)
        kind, at = following, at + size
    if kind:
        return f"more than {_MOST} payloads"
    return f"the header says {length} octets, there are {len(message)}" if length != len(message) else ""


def _notify(payload: bytes, version: int) -> str:
    """The name of a notify: its type stands behind the DOI in IKEv1 (RFC 2408, section 3.14)."""
    at = 10 if version == 1 else 6
    if len(payload) < at + 2:
        return "cut short"
    (number,) = struct.unpack_from(">H", payload, at)
    return NOTIFIES[version].get(number, str(number))
