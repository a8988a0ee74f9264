"""For which negotiations the sides are inactive, and who says of which that it is mended. No I/O.

Beside charon what belongs together comes in any order, and from three sources: its log says that a
negotiation failed, its SA events say under which cookies, and the partner's message, which names the cookies,
that he is mended. The agent may load a mended configuration before the cookies are known, and the partner's
message may be here before charon's log is. So each is kept until the others have come. An endpoint knows all
of it at once.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Generic, NamedTuple, Protocol, TypeVar

from nodes.abnormality.machine import Side
from nodes.abnormality.remembered import remember


class Negotiation(Protocol):
    """What names a negotiation; cookies are IKEv2's SPIs too."""

    @property
    def initiator_cookie(self) -> bytes:
        """Of the side that began it."""

    @property
    def responder_cookie(self) -> bytes:
        """Of the one that answered it; zeros where none is known."""


N = TypeVar("N", bound=Negotiation)
"""One with what is needed to send a message about it."""


@dataclasses.dataclass
class _Failure(Generic[N]):
    """A negotiation that failed, as far as it is known: the IKE SA's unique id with charon, its cookies."""

    ike_id: int | None = None
    negotiation: N | None = None


class Due(NamedTuple, Generic[N]):
    """What follows, now that a failed negotiation's cookies are known.

    Attributes:
        side: the sender's is to tell his partner that he is mended; the receiver's has been told so.
        negotiation: the one that failed.
    """

    side: Side
    partner: str
    negotiation: N


class Failures(Generic[N]):
    """The failed negotiations for which sides are inactive, one for each partner and side."""

    def __init__(self) -> None:
        self._current: OrderedDict[tuple[str, Side], _Failure[N]] = OrderedDict()
        self._settled: OrderedDict[int | bytes, None] = OrderedDict()
        self._owed: OrderedDict[int, str] = OrderedDict()
        self._told: OrderedDict[str, N] = OrderedDict()
        self._ahead: OrderedDict[str, int] = OrderedDict()
        # by partner and initiator's cookie; the responder's, once the partner has said that he is mended
        self._answered: OrderedDict[tuple[str, bytes], bytes | None] = OrderedDict()

    def failed(
        self, partner: str, side: Side, ike_id: int | None, negotiation: N | None, *, newly: bool
    ) -> list[Due[N]]:
        """A side is inactive for this negotiation, ``newly`` or since before.

        The first one counts: those that follow while a side is inactive did not make it so.
        """
        before = self._current.get((partner, side))
        if newly or before is None or before == _Failure():
            self._current.pop((partner, side), None)
            remember(self._current, (partner, side), _Failure(ike_id, None))
            if newly and side is Side.SENDER:
                self._told.pop(partner, None)
        return [] if negotiation is None else self._named((partner, side), ike_id, negotiation)

    def identified(self, ike_id: int, negotiation: N) -> list[Due[N]]:
        """Charon says under which cookies it knows an IKE SA."""
        due = []
        if (partner := self._owed.pop(ike_id, None)) is not None:
            due.append(self._tell(partner, negotiation))
        unnamed = [
            key for key, one in self._current.items() if (one.ike_id, one.negotiation) == (ike_id, None)
        ]
        return due + [one for key in unnamed for one in self._named(key, ike_id, negotiation)]

    def _named(self, key: tuple[str, Side], ike_id: int | None, negotiation: N) -> list[Due[N]]:
        """A negotiation's cookies are known; the partner may have named them already."""
        partner, side = key
        failure = self._current[key]
        if failure.negotiation is not None or failure.ike_id != ike_id:
            return []
        failure.negotiation = negotiation
        said = self._answered.get((partner, negotiation.initiator_cookie))
        if side is Side.SENDER or said is None:
            return []
        return self.mended_there(partner, negotiation.initiator_cookie, said) or []

    # what is told of ahead of charon's log

    def ahead(self, partner: str, ike_id: int) -> None:
        """The agent has told of a failure in this IKE SA, which charon's log has still to tell of."""
        remember(self._ahead, partner, ike_id)

    def heard(self, ike_id: int) -> bool:
        """Charon's log tells of a failure in this IKE SA; whether it is the one that the agent told of."""
        partners = [partner for partner, one in self._ahead.items() if one == ike_id]
        for partner in partners:
            del self._ahead[partner]
        return bool(partners)

    def is_older(self, partner: str, ike_id: int) -> bool:
        """Whether a success in this IKE SA, heard of now, came before the failure that the agent told of.

        What charon says is heard in its order; the ids of its IKE SAs rise.
        """
        return ike_id <= self._ahead.get(partner, 0)

    # who is mended

    def mended_here(self, partner: str) -> list[Due[N]]:
        """The sender is active again because of a repair; what is to be told, if it can be already."""
        failure = self.settle(partner, Side.SENDER) or _Failure()
        if failure.negotiation is not None:
            return [self._tell(partner, failure.negotiation)]
        if failure.ike_id is not None:
            remember(self._owed, failure.ike_id, partner)
        return []

    def owes(self, partner: str) -> bool:
        """Whether a repair is to be told of once the cookies are known."""
        return partner in self._owed.values()

    def mended_there(
        self, partner: str, initiator_cookie: bytes, responder_cookie: bytes
    ) -> list[Due[N]] | None:
        """The partner says that he is mended; None where it is of no negotiation that this node knows.

        It counts where the receiver is inactive for the negotiation with exactly these cookies, now or later:
        of a negotiation that this node has answered it is remembered.
        """
        failure = self._current.get((partner, Side.RECEIVER))
        negotiation = None if failure is None else failure.negotiation
        if negotiation is not None and negotiation.initiator_cookie == initiator_cookie:
            if any(responder_cookie) and negotiation.responder_cookie != responder_cookie:
                return None
            self.settle(partner, Side.RECEIVER)
            return [Due(Side.RECEIVER, partner, negotiation)]
        if (partner, initiator_cookie) not in self._answered:
            return None
        self._answered[partner, initiator_cookie] = responder_cookie
        return []

    def answered(self, partner: str, initiator_cookie: bytes) -> None:
        """This node sent a message of a negotiation that the partner began."""
        key = (partner, initiator_cookie)
        remember(self._answered, key, self._answered.get(key))

    def told(self, partner: str) -> N | None:
        """The negotiation of which this partner was told that it is mended; None once another came up."""
        return self._told.get(partner)

    def succeeded(self, partner: str) -> None:
        """A negotiation with the partner came to its end."""
        self._told.pop(partner, None)

    # what counts no more

    def settle(self, partner: str, side: Side) -> _Failure[N] | None:
        """A side was made active again: what else is said of that negotiation comes too late to count."""
        failure = self._current.pop((partner, side), None)
        if failure is not None and failure.ike_id is not None:
            remember(self._settled, failure.ike_id, None)
        if failure is not None and failure.negotiation is not None:
            remember(self._settled, failure.negotiation.initiator_cookie, None)
        return failure

    def is_settled(self, ike_id: int | None, initiator_cookie: bytes | None) -> bool:
        """Whether this negotiation's failure is over and done with."""
        return ike_id in self._settled or initiator_cookie in self._settled

    def _tell(self, partner: str, negotiation: N) -> Due[N]:
        remember(self._told, partner, negotiation)
        remember(self._settled, negotiation.initiator_cookie, None)
        return Due(Side.SENDER, partner, negotiation)
