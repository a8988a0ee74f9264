"""Has packets cut before they leave an interface, so that a capture shows them as a wire would.

What is handed to the kernel many packets at a time (UDP_SEGMENT) stays in one piece for as long as it can:
a veth pair and a bridge pass it on whole, and a capture shows one datagram of 60,000 octets. With the
interface's own segmentation switched off the kernel cuts it on its way into the interface.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from typing import Final

FEATURE: Final = b"tx-udp-segmentation"
_SIOCETHTOOL: Final = 0x8946
_GSTRINGS, _SFEATURES, _GSSET_INFO = 0x1B, 0x3B, 0x37
_FEATURES: Final = 4  # ETH_SS_FEATURES
_NAME: Final = 32

_request = struct.Struct("16sP16x")
_sset = struct.Struct("=IIQI")
_head = struct.Struct("=III")
_features = struct.Struct("=II")
_pair = struct.Struct("=II")


def cut_before_leaving() -> list[str]:
    """Switch the segmentation of UDP off at every interface of this node but ``lo``; where it was done."""
    done = []
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            if name != "lo" and _switch_off(any_socket, name.encode()):
                done.append(name)
    return done


def _switch_off(any_socket: socket.socket, interface: bytes) -> bool:
    def ask(octets: bytes) -> bytes:
        buffer = ctypes.create_string_buffer(octets, len(octets))
        fcntl.ioctl(any_socket, _SIOCETHTOOL, _request.pack(interface, ctypes.addressof(buffer)))
        return buffer.raw

    try:
        *_, count = _sset.unpack(ask(_sset.pack(_GSSET_INFO, 0, 1 << _FEATURES, 0)))
        names = ask(_head.pack(_GSTRINGS, _FEATURES, count) + bytes(count * _NAME))[_head.size :]
        features = [names[at : at + _NAME].rstrip(b"\0") for at in range(0, len(names), _NAME)]
        word, bit = divmod(features.index(FEATURE), 32)
        words = [_pair.pack(1 << bit if n == word else 0, 0) for n in range(-(-count // 32))]
        ask(_features.pack(_SFEATURES, len(words)) + b"".join(words))
    except (OSError, ValueError):
        return False  # it has no such feature, or may not be told: then it cuts by itself, or not at all
    return True
