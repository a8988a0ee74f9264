"""Which rule acts on a message. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import NamedTuple

import msgspec

from nodes.faults.exchanges import MOST_EXCHANGES, Sighting
from nodes.faults.messages import IkeMessage
from nodes.faults.rule import Rule


class NumberedRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule under the number by which its events name it."""

    id: int
    rule: Rule


class Match(NamedTuple):
    """The rule that acts on a message, and in the how-manyth exchange it does, counted from 1."""

    rule: NumberedRule
    occurrence: int


@dataclasses.dataclass
class _Progress:
    """How far a rule has come: the exchanges it counted, and the message that it is for, once that came."""

    rule: NumberedRule
    exchanges: int = 0
    numbers: dict[int, int] = dataclasses.field(default_factory=dict)
    target: int | None = None

    def takes(self, sighting: Sighting) -> int | None:
        """Count a message that the rule is about; in which exchange the rule is to act on it, or None."""
        wanted = self.rule.rule.occurrence
        if self.target is not None:
            return wanted if self.target == sighting.message else None
        number = self.numbers.get(sighting.exchange)
        if number is None:
            self.exchanges += 1
            number = self.numbers[sighting.exchange] = self.exchanges
            if len(self.numbers) > MOST_EXCHANGES:
                del self.numbers[next(iter(self.numbers))]
        if wanted is None:
            return number
        if number == wanted:
            self.target = sighting.message
            return number
        return None


class Matcher:
    """The rules of one node, in their order; of those that match a message the first acts.

    A rule counts messages that go out and that come in, so that both ends of a tunnel, each with the same
    rule, agree on which exchange is the first.
    """

    def __init__(self) -> None:
        self._rules: list[_Progress] = []

    def add(self, rule: NumberedRule) -> None:
        """Take one more rule, after the others."""
        self._rules.append(_Progress(rule))

    def match(
        self, message: IkeMessage, sighting: Sighting, *, outgoing: bool, to: Collection[str]
    ) -> Match | None:
        """The rule for this message; ``to`` are the names of the node that it is for."""
        acting: Match | None = None
        for progress in self._rules:
            rule = progress.rule.rule
            if _is_about(rule, message, sighting) and _is_between(rule, outgoing=outgoing, to=to):
                occurrence = progress.takes(sighting)  # each counts, although only the first acts
                if occurrence is not None and acting is None:
                    acting = Match(progress.rule, occurrence)
        return acting


def _is_about(rule: Rule, message: IkeMessage, sighting: Sighting) -> bool:
    return (
        rule.exchange is message.exchange
        and rule.version in (None, message.version)
        and rule.message in (None, sighting.number)
        and (rule.retransmissions or not sighting.retransmission)
    )


def _is_between(rule: Rule, *, outgoing: bool, to: Collection[str]) -> bool:
    """A rule with a source is only told to that node."""
    return (rule.source is None or outgoing) and (rule.destination is None or rule.destination in to)
