"""The vendor IDs that turn extensions on (RFC 3947, section 3.1; RFC 3706, section 5.1)."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class VendorId(bytes, enum.Enum):
    """What we announce, and heed where the partner announces it."""

    NAT_TRAVERSAL = bytes.fromhex("4a131c81070358455c5728f20e95452f")
    """MD5 of ``RFC 3947``."""
    DEAD_PEER_DETECTION = bytes.fromhex("afcad71368a1f1c96b8696fc77570100")
    """Major version 1, minor version 0."""


ANNOUNCED = (VendorId.DEAD_PEER_DETECTION, VendorId.NAT_TRAVERSAL)


def announced(bodies: Iterable[bytes]) -> frozenset[VendorId]:
    """The extensions that a partner's vendor IDs announce; what we do not know is nothing to us."""
    found = set()
    for body in bodies:
        try:
            found.add(VendorId(body))
        except ValueError:
            continue
    return frozenset(found)
