"""A fault as a value, its text, and what makes two of them contradict each other. No I/O."""

from __future__ import annotations

import enum

import msgspec

from nodes.faults.messages import Exchange, Version

NS_PER_S = 1_000_000_000


class Action(enum.StrEnum):
    """What becomes of a packet that a rule matches."""

    DROP = "drop"
    DELAY = "delay"
    DUPLICATE = "duplicate"
    CORRUPT = "corrupt"
    REPLAY = "replay"
    HOLD = "hold"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One fault. What is None matches anything.

    Attributes:
        version: of IKE.
        message: the number of the message in the exchange, from 1.
        source: the node that sends it, by name.
        destination: the node that it is for, by name.
        occurrence: in which exchange, from 1, of those that have such a message; None in every one.
        retransmissions: also when the same message is sent again.
        by_ns: how long a ``delay`` lasts, or when a ``replay`` comes, in ns.
        until: the event that ends a ``hold``.
        octet: which octet of the IKE message, from 0, ``corrupt`` changes.
        field: which field of the IKE header ``corrupt`` changes.
    """

    action: Action
    exchange: Exchange
    version: Version | None = None
    message: int | None = None
    source: str | None = None
    destination: str | None = None
    occurrence: int | None = 1
    retransmissions: bool = False
    by_ns: int | None = None
    until: str | None = None
    octet: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        """The rule in words that :func:`nodes.faults.grammar.parse` reads back."""
        words = [self.action.value]
        if self.version is not None:
            words.append(f"ikev{self.version}")
        words.append(self.exchange.value)
        if self.message is not None:
            words.append(str(self.message))
        if self.source is not None:
            words.append(f"from {self.source}")
        if self.destination is not None:
            words.append(f"to {self.destination}")
        if self.occurrence is None:
            words.append("always")
        elif self.occurrence != 1:
            words.append(f"occurrence {self.occurrence}")
        if self.retransmissions:
            words.append("with retransmissions")
        if self.by_ns is not None:
            words.append(f"by {time_text(self.by_ns)}")
        if self.until is not None:
            words.append(f"until {self.until}")
        if self.octet is not None:
            words.append(f"octet {self.octet}")
        if self.field is not None:
            words.append(f"field {self.field}")
        return " ".join(words)

    @property
    def where(self) -> tuple[str | None, str | None]:
        """The nodes between which it acts."""
        return (self.source, self.destination)


def time_text(ns: int) -> str:
    """A time in the largest unit that has it whole: ``2s``, ``500ms``, ``20us``."""
    for unit, size in (("s", NS_PER_S), ("ms", 1_000_000)):
        if ns % size == 0:
            return f"{ns // size}{unit}"
    return f"{ns // 1000}us"


def is_until(until: str, kind: str) -> bool:
    """Whether an event of ``kind`` is what a rule waits for: its kind, or how that ends.

    ``child-sa.installed``, ``child-sa-installed`` and ``sa-installed`` all name ``child-sa.installed``.
    """
    wanted, found = until.replace(".", "-"), kind.replace(".", "-")
    return found == wanted or found.endswith(f"-{wanted}")


def reason_never(later: Rule, earlier: Rule) -> str | None:
    """Why ``later`` can never act where ``earlier`` stands before it; None where it can.

    Of the rules that match a message the first one acts.
    """
    if not _within(later, earlier):
        return None
    same = later.message == earlier.message and later.where == earlier.where
    same = same and later.version == earlier.version
    if earlier.occurrence is None:
        if earlier.message in (None, later.message) and later.retransmissions <= earlier.retransmissions:
            return "takes every such message before it"
        if (
            earlier.action is Action.DROP
            and earlier.retransmissions
            and earlier.where == (None, None)
            and earlier.message is not None
            and later.message is not None
            and later.message > earlier.message
            and earlier.exchange not in (Exchange.IKE_SA_INIT, Exchange.IKE_AUTH)
        ):
            return f"lets no such exchange come to message {later.message}"
    elif same and earlier.occurrence == later.occurrence and later.retransmissions <= earlier.retransmissions:
        return "takes the same message before it"
    return None


def _within(later: Rule, earlier: Rule) -> bool:
    """Whether the exchanges, versions and nodes of ``later`` are all ones of ``earlier``."""
    return (
        later.exchange is earlier.exchange
        and earlier.version in (None, later.version)
        and earlier.source in (None, later.source)
        and earlier.destination in (None, later.destination)
    )
