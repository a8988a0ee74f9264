"""Many datagrams in one call: ``recvmmsg(2)``, which Python does not offer, into buffers that stay."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import Final

DATAGRAMS: Final = 32
"""Datagrams that one call takes."""
SLOT: Final = 65536
"""Octets for one datagram: as large as UDP's, or as many as the kernel has put together (UDP_GRO)."""
_NAME: Final = 28
_CONTROL: Final = 128

_message = struct.Struct("@PI4xPNPNi4xI4x")
"""``struct mmsghdr`` where pointers have 64 bits."""
_vector = struct.Struct("@PN")
_length = struct.Struct("@I")
_LENGTH_AT: Final = 56
_CONTROL_LENGTH_AT: Final = 40
_long = struct.Struct("@N")
_control = struct.Struct("@Nii")
_int = struct.Struct("@i")

_SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
_PKTINFO: Final = 50  # IPV6_PKTINFO

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_recvmmsg.restype = ctypes.c_int


class Batch:
    """Datagrams that were received together; datagram ``n`` is at ``n * SLOT`` of ``buffer``."""

    def __init__(self) -> None:
        self._memory = bytearray(DATAGRAMS * SLOT)
        self.buffer = memoryview(self._memory)
        self._names = bytearray(DATAGRAMS * _NAME)
        self._controls = bytearray(DATAGRAMS * _CONTROL)
        self._vectors = bytearray(DATAGRAMS * _vector.size)
        self._messages = bytearray(DATAGRAMS * _message.size)
        data, names, controls, vectors, self._at = map(
            _address, (self._memory, self._names, self._controls, self._vectors, self._messages)
        )
        for n in range(DATAGRAMS):
            _vector.pack_into(self._vectors, n * _vector.size, data + n * SLOT, SLOT)
            message = (names + n * _NAME, _NAME, vectors + n * _vector.size, 1)
            control = (controls + n * _CONTROL, _CONTROL)
            _message.pack_into(self._messages, n * _message.size, *message, *control, 0, 0)
        self._fresh = bytes(self._messages)

    def receive(self, descriptor: int) -> int:
        """Receive what waits at a socket, without waiting; how many datagrams that are, up to DATAGRAMS.

        Raises:
            OSError: as of ``recvmmsg``.
        """
        self._messages[:] = self._fresh
        received: int = _recvmmsg(descriptor, self._at, DATAGRAMS, socket.MSG_DONTWAIT, None)
        if received < 0:
            number = ctypes.get_errno()
            if number in (errno.EAGAIN, errno.EINTR):
                return 0
            raise OSError(number, os.strerror(number))
        return received

    def length(self, n: int) -> int:
        """The octets of datagram ``n``."""
        return int(_length.unpack_from(self._messages, n * _message.size + _LENGTH_AT)[0])

    def segment(self, n: int) -> int:
        """The octets of each of the datagrams that the kernel put together as ``n``; 0: it is one alone."""
        # the kernel puts this control message first
        size, level, kind = _control.unpack_from(self._controls, n * _CONTROL)
        if level == _SOL_UDP and kind == UDP_GRO and size and self._control_length(n) >= size:
            return int(_int.unpack_from(self._controls, n * _CONTROL + _control.size)[0])
        return 0

    def source(self, n: int) -> tuple[bytes, int]:
        """The address and the port that datagram ``n`` came from."""
        at = n * _NAME
        return bytes(self._names[at + 8 : at + 24]), int.from_bytes(self._names[at + 2 : at + 4], "big")

    def destination(self, n: int) -> bytes | None:
        """The address of ours that datagram ``n`` came to; None where the socket does not tell."""
        at, end = n * _CONTROL, n * _CONTROL + self._control_length(n)
        while at + _control.size <= end:
            size, level, kind = _control.unpack_from(self._controls, at)
            if level == socket.IPPROTO_IPV6 and kind == _PKTINFO:
                return bytes(self._controls[at + _control.size : at + _control.size + 16])
            at += max(-(-size // 8) * 8, _control.size)
        return None

    def _control_length(self, n: int) -> int:
        return int(_long.unpack_from(self._messages, n * _message.size + _CONTROL_LENGTH_AT)[0])


def _address(memory: bytearray) -> int:
    """Where a bytearray's octets are; it is never resized again."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
