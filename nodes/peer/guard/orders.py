"""What the agent tells the guard, a JSON value a line, and what the guard answers. No I/O.

An order is answered, once it is carried out, by the event ``guard.answer`` with the order's ``id``; so its
sender knows that everything the guard said before is from before.
"""

from __future__ import annotations

from msgspec import Struct

from nodes.abnormality.timing import Timing

ANSWER = "guard.answer"


class Start(Struct, frozen=True, kw_only=True):
    """The program's argument.

    Attributes:
        vici: charon's VICI socket.
        snapshot: the file with what is inactive; one that was left there is taken up.
        timing: for partners that have none of their own in ``timings``.
        partners: the addresses of the partners of loaded connections.
    """

    vici: str
    snapshot: str
    timing: Timing
    timings: dict[str, Timing] = {}
    partners: tuple[str, ...] = ()


class Order(Struct, frozen=True, kw_only=True, tag_field="order"):
    """Something to do; ``id`` is repeated in the answer."""

    id: int


class SetTiming(Order, frozen=True, kw_only=True, tag="timing"):
    """Times from now on, for one partner or for all that have none of their own."""

    timing: Timing
    partner: str | None = None


class Know(Order, frozen=True, kw_only=True, tag="know"):
    """These are the partners. ``changed``: the one whose configuration has just changed; it becomes
    active."""

    partners: tuple[str, ...]
    changed: str | None = None


class Release(Order, frozen=True, kw_only=True, tag="release"):
    """By the operator's word a partner, or all, become active."""

    partner: str | None = None


class Failed(Order, frozen=True, kw_only=True, tag="failed"):
    """Charon has told the agent that a negotiation which it began failed; ``ike_id``: the IKE SA's."""

    partner: str
    reason: str
    text: str
    ike_id: int | None = None


class Tell(Order, frozen=True, kw_only=True, tag="tell"):
    """Say what is remembered: the answer has ``partners``, each a PartnerState."""


AnyOrder = SetTiming | Know | Release | Failed | Tell
