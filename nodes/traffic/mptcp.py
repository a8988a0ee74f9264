"""Multipath TCP (RFC 8684) as the Linux kernel offers it to a socket."""

from __future__ import annotations

import socket
import struct
from typing import Any

IPPROTO_MPTCP = 262
"""The protocol of an MPTCP socket; Python has no name for it before 3.12."""

_SOL_MPTCP = 284
_MPTCP_INFO = 1
_INFO_OCTETS = 256
_FALLBACK = 1
_FLAGS, _RETRANSMITS = 8, 44  # offsets in struct mptcp_info


def state(stream: socket.socket) -> dict[str, Any]:
    """Of a connection: ``fallback``, whether it is plain TCP, and ``retransmitted``, as MPTCP counts them.

    A kernel answers EOPNOTSUPP for a connection that fell back.
    """
    try:
        information = stream.getsockopt(_SOL_MPTCP, _MPTCP_INFO, _INFO_OCTETS)
    except OSError:
        return {"fallback": True, "retransmitted": None}
    (flags,) = struct.unpack_from("=I", information, _FLAGS)
    retransmitted = None
    if len(information) >= _RETRANSMITS + 4:  # older kernels tell less
        (retransmitted,) = struct.unpack_from("=I", information, _RETRANSMITS)
    return {"fallback": bool(flags & _FALLBACK), "retransmitted": retransmitted}
