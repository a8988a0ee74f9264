"""Messages that are refused: counted by reason, and told of so that a flood of them is not one of events."""

from __future__ import annotations

from nodes.ike.context import Context, Path
from nodes.ike.rate import Buckets

TOLD = 1.0
"""Events a second for each reason and address, at most."""
_MOST = 256
_BURST = 3


class Rejections:
    """What was refused so far; ``counts`` is by reason."""

    def __init__(self, context: Context) -> None:
        self.counts: dict[str, int] = {}
        self._context = context
        self._telling = Buckets(TOLD, _BURST, _MOST)
        self._untold = 0

    def reject(self, path: Path, reason: str, text: str = "") -> None:
        """Refuse a message; ``reason`` is one of a few words, ``text`` says more."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        if not self._telling.take((path.remote, reason), self._context.now):
            self._untold += 1
            return
        untold, self._untold = self._untold, 0
        self._context.say(
            "packet.rejected",
            address=str(path.remote),
            port=path.remote_port,
            reason=reason,
            text=text,
            count=self.counts[reason],
            untold=untold,
        )
