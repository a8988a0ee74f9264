"""The TUN device through which inner packets come and go."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from nodes import errors

TUN = Path("/dev/net/tun")
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_request = struct.Struct("16sH22x")


def open_tun(name: str) -> int:
    """Make the device ``name``, which is gone when the descriptor is closed.

    Each packet comes and goes behind a ``virtio_net_hdr``.

    The packets that it gives are whole, their checksums done: were segmentation left to us, Python
    would have to compute the checksums, which takes longer than to read a packet.

    Raises:
        MachineError: there is no TUN here.
        NodeError: the device cannot be made.
    """
    try:
        descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise errors.MachineError(f"{TUN} cannot be opened: {error.strerror}") from None
    try:
        flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(descriptor, _TUNSETIFF, _request.pack(name.encode(), flags))
    except OSError as error:
        os.close(descriptor)
        raise errors.NodeError(f"the TUN device {name} cannot be made: {error.strerror}") from None
    return descriptor
