"""The detection of address translation between the peers (RFC 3947, section 3.2). No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from nodes.ike.context import Context, Path
from nodes.ike.crypto.keys import HASH_SIZE
from nodes.ike.messages.payloads import Payload, PayloadType, bodies


class Translation(NamedTuple):
    """Where addresses are translated: before us, before the partner."""

    here: bool = False
    there: bool = False


def _digest(cookies: tuple[bytes, bytes], address: bytes, port: int) -> bytes:
    return sha256(b"".join(cookies) + address + port.to_bytes(2, "big")).digest()


def nat_payloads(
    context: Context, cookies: tuple[bytes, bytes], path: Path, *, forced: bool
) -> tuple[Payload, ...]:
    """What we say of the addresses that we see: the partner's first, then our own.

    With ``forced`` our own is made up, so that the partner sees a translation and ESP goes in UDP.
    """
    ours = context.random(HASH_SIZE) if forced else _digest(cookies, path.local.packed, path.local_port)
    theirs = _digest(cookies, path.remote.packed, path.remote_port)
    return (Payload(PayloadType.NAT_D, theirs), Payload(PayloadType.NAT_D, ours))


def translation(payloads: Sequence[Payload], cookies: tuple[bytes, bytes], path: Path) -> Translation:
    """What a partner tells: the first hash is of our address, the others are of its own."""
    hashes = bodies(payloads, PayloadType.NAT_D)
    if len(hashes) < 2:
        return Translation()
    here = hashes[0] != _digest(cookies, path.local.packed, path.local_port)
    there = _digest(cookies, path.remote.packed, path.remote_port) not in hashes[1:]
    return Translation(here, there)
