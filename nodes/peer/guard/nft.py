"""nft in this process: libnftables, whose one netlink socket owns what is put in through it.

The library comes with Debian's package nftables, as nft itself is a thin program around it. A table with
``flags owner`` can be changed by nobody else, and the kernel removes it when the socket is closed, which the
end of this process does, SIGKILL too (Linux 5.12).
"""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Self

from nodes import errors

_LIBRARY = "libnftables.so.1"
_NO_LIBRARY = f"{_LIBRARY} is missing, on which the guard rests. Install it: apt-get install nftables"


class Nft:
    """A context of libnftables; what it owns goes with it."""

    def __init__(self) -> None:
        """Open it.

        Raises:
            MachineError: libnftables is not there.
        """
        try:
            self._library = ctypes.CDLL(_LIBRARY)
        except OSError:
            raise errors.MachineError(_NO_LIBRARY) from None
        for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output", "nft_ctx_free"):
            getattr(self._library, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
            getattr(self._library, name).argtypes = [ctypes.c_void_p]
            getattr(self._library, name).restype = ctypes.c_char_p
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._context = self._library.nft_ctx_new(0)
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_buffer_output(self._context)

    def run(self, words: str) -> None:
        """Do what ``words`` say, in one transaction.

        Raises:
            MachineError: the kernel, or this user's rights, do not allow it; the text has nft's complaint.
        """
        if self._library.nft_run_cmd_from_buffer(self._context, words.encode()):
            complaint = self._library.nft_ctx_get_error_buffer(self._context).decode(errors="replace")
            raise errors.MachineError(f"nft refuses: {' '.join(complaint.split())[:500]}")

    def close(self) -> None:
        """Give up what is owned."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
