"""The anti-replay window (RFC 4303, section 3.4.3 and appendix A2)."""

from __future__ import annotations

_HALF = 1 << 32
_LOW = _HALF - 1


class ReplayedError(Exception):
    """The sequence number was seen before, or is too old for the window to know."""


class ReplayWindow:
    """Which sequence numbers came, of the last ``size`` up to the highest.

    It is asked before a packet is authenticated (:meth:`candidate`), and moved after it (:meth:`accept`):
    what is forged moves nothing.

    Args:
        size: packets.
        esn: numbers have 64 bits, of which the packet carries the lower 32.
    """

    def __init__(self, size: int, *, esn: bool) -> None:
        self.size = size
        self.highest = 0
        self._esn = esn
        self._seen = 0  # bit n: the number that is n below the highest
        self._mask = (1 << size) - 1

    def candidate(self, low: int) -> int:
        """The whole sequence number that a packet with these lower 32 bits has, if it is authentic.

        Raises:
            ReplayedError: the packet must be dropped.
        """
        highest = self.highest
        sequence = low if not self._esn else self._extended(low)
        if sequence > highest:
            return sequence
        behind = highest - sequence
        if behind >= self.size or sequence <= 0 or self._seen >> behind & 1:
            raise ReplayedError
        return sequence

    def accept(self, sequence: int) -> None:
        """Take in the number of an authenticated packet, which :meth:`candidate` gave."""
        ahead = sequence - self.highest
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & self._mask if ahead < self.size else 1
            self.highest = sequence
        else:
            self._seen |= 1 << -ahead

    def _extended(self, low: int) -> int:
        """The number with these lower bits that fits the window best (RFC 4303, appendix A2.2)."""
        high, bottom = self.highest & ~_LOW, (self.highest & _LOW) - self.size + 1
        if bottom >= 0:  # the window is within one run of the lower bits
            return high + low if low >= bottom else high + _HALF + low
        return high - _HALF + low if low >= bottom + _HALF else high + low
