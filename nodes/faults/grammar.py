"""Faults in words: the text of a rule to its value, with errors that point at the word. No I/O.

::

    ACTION [ikev1|ikev2] EXCHANGE [MESSAGE] [from NODE] [to NODE] [occurrence N | always]
           [with retransmissions] [by TIME] [until EVENT] [octet N | field NAME]
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

from nodes import errors
from nodes.faults.messages import FIELDS, Exchange, Version, versions_of
from nodes.faults.rule import NS_PER_S, Action, Rule, reason_never

MOST_OCTET = 65_499
"""The last octet that an IKE message in a UDP datagram over IPv6 can have, with the non-ESP marker before."""
MOST_OCCURRENCE = 1_000_000
LONGEST_S = 3600

_MESSAGES: dict[Exchange, dict[Version, int | None]] = {
    Exchange.MAIN_MODE: {1: 6},
    Exchange.AGGRESSIVE_MODE: {1: 3},
    Exchange.QUICK_MODE: {1: 3},
    Exchange.INFORMATIONAL: {1: 1, 2: 2},
    Exchange.IKE_SA_INIT: {2: None},
    Exchange.IKE_AUTH: {2: None},
    Exchange.CREATE_CHILD_SA: {2: 2},
}
"""How many messages an exchange has; None where further round trips go on counting."""
_VERSIONS: dict[str, Version] = {"ikev1": 1, "ikev2": 2}
_CLAUSES = ("from", "to", "occurrence", "always", "with", "by", "until", "octet", "field")
_CLAUSE_OF_ACTION = {"by": (Action.DELAY, Action.REPLAY), "until": (Action.HOLD,)}
_CLAUSE_OF_ACTION |= {"octet": (Action.CORRUPT,), "field": (Action.CORRUPT,)}
_NEEDED = {Action.DELAY: "by TIME", Action.REPLAY: "by TIME", Action.HOLD: "until EVENT"}
_TIME = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(us|ms|s)")
_UNITS_NS = {"us": 1_000, "ms": 1_000_000, "s": NS_PER_S}
_EVENT = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class _Word(NamedTuple):
    text: str
    begin: int
    end: int


def parse(
    text: str, *, nodes: Collection[str] | None = None, aliases: Mapping[str, str] | None = None
) -> Rule:
    """Read one rule.

    Args:
        text: the rule in words.
        nodes: the names that a node may have; by default any.
        aliases: other names for nodes, such as INITIATOR; the rule has the node's own.

    Raises:
        ParameterError: it is none; the text shows the rule with a line that points at the word.
    """
    return _Reader(text, nodes, aliases or {}).rule()


def parse_all(
    texts: Sequence[str],
    *,
    nodes: Collection[str] | None = None,
    aliases: Mapping[str, str] | None = None,
    before: Sequence[Rule] = (),
) -> list[Rule]:
    """Read rules that are to act together, after those of ``before``.

    Raises:
        ParameterError: one is none, or can never act because of one before it.
    """
    rules = list(before)
    for text in texts:
        rule = parse(text, nodes=nodes, aliases=aliases)
        for earlier in rules:
            reason = reason_never(rule, earlier)
            if reason is not None:
                where = _Word(text.strip(), *_span(text))
                _fail(text, where, "this fault can never act", f"{str(earlier)!r} {reason}")
        rules.append(rule)
    return rules[len(before) :]


class _Reader:
    def __init__(self, text: str, nodes: Collection[str] | None, aliases: Mapping[str, str]) -> None:
        self._text = text
        self._words = [_Word(found[0], *found.span()) for found in re.finditer(r"\S+", text)]
        self._at = 0
        self._nodes = nodes
        self._aliases = aliases

    def rule(self) -> Rule:
        action = Action(self._choice("action", [one.value for one in Action]))
        version = self._version()
        exchange = Exchange(self._choice("exchange", [one.value for one in Exchange]))
        self._check_version(version, exchange)
        found: dict[str, Any] = {"action": action, "exchange": exchange, "version": version}
        if self._peek().isdigit():
            found["message"] = self._message(exchange, version)
        given: dict[str, _Word] = {}
        while self._at < len(self._words):
            self._clause(action, found, given)
        needed = _NEEDED.get(action)
        if needed is not None and needed.split()[0] not in given:
            self._fail(None, f"{action} needs `{needed}`", f"such as `{_EXAMPLES[action]}`")
        if "source" in found and found["source"] == found.get("destination"):
            self._fail(given["to"], "a node sends no IKE message to itself", "")
        return Rule(**found)

    def _clause(self, action: Action, found: dict[str, Any], given: dict[str, _Word]) -> None:
        word = self._words[self._at]
        name = self._choice("clause", _CLAUSES)
        rivals = ({name}, {"occurrence", "always"}, {"octet", "field"})
        for other in {one for group in rivals if name in group for one in group} & given.keys():
            said = (
                f"`{name}` is said twice" if other == name else f"`{name}` and `{other}` exclude each other"
            )
            self._fail(word, said, "")
        actions = _CLAUSE_OF_ACTION.get(name)
        if actions is not None and action not in actions:
            self._fail(word, f"`{name}` goes with {' and '.join(actions)}, not with {action}", "")
        given[name] = word
        if name == "from":
            found["source"] = self._node()
        elif name == "to":
            found["destination"] = self._node()
        elif name == "occurrence":
            found["occurrence"] = self._whole_number(1, MOST_OCCURRENCE)
        elif name == "always":
            found["occurrence"] = None
        elif name == "with":
            self._choice("word", ["retransmissions"])
            found["retransmissions"] = True
        elif name == "by":
            found["by_ns"] = self._time()
        elif name == "until":
            found["until"] = self._matching(_EVENT, "the kind of an event, such as child-sa.installed")
        elif name == "octet":
            found["octet"] = self._whole_number(0, MOST_OCTET)
        else:
            found["field"] = self._choice("field of the IKE header", list(FIELDS))

    def _version(self) -> Version | None:
        version = _VERSIONS.get(self._peek())
        self._at += version is not None
        return version

    def _check_version(self, version: Version | None, exchange: Exchange) -> None:
        if version is not None and version not in versions_of(exchange):
            (other,) = versions_of(exchange)
            self._fail(self._words[self._at - 1], f"IKEv{version} has no {exchange}; IKEv{other} has", "")

    def _message(self, exchange: Exchange, version: Version | None) -> int:
        counts = [count for of, count in _MESSAGES[exchange].items() if version in (None, of)]
        most = max((count or 0 for count in counts), default=0)
        if None in counts:
            return self._whole_number(1, 999)
        which = f"{exchange} of IKEv{version}" if version else str(exchange)
        return self._whole_number(
            1, most, f"{which} has messages 1 to {most}" if most > 1 else f"{which} has 1"
        )

    def _node(self) -> str:
        word = self._words[self._at] if self._at < len(self._words) else None
        name = self._matching(_NODE, "a node")
        name = self._aliases.get(name, name)
        if self._nodes is not None and name not in self._nodes:
            there = [*self._nodes, *self._aliases]
            self._fail(word, "there is no such node", _options(name, there))
        return name

    def _time(self) -> int:
        word = self._words[self._at] if self._at < len(self._words) else None
        text = self._matching(_TIME, "a time, such as 500ms, 2s or 250us")
        number, unit = re.split(r"(?<=[0-9])(?=[a-z])", text)
        ns = Decimal(number) * _UNITS_NS[unit]
        if ns % 1000 or not 0 < ns <= LONGEST_S * NS_PER_S:
            self._fail(word, "not a time that a fault can have", f"whole µs, from 1us to {LONGEST_S}s")
        return int(ns)

    def _whole_number(self, low: int, high: int, hint: str = "") -> int:
        word = self._words[self._at] if self._at < len(self._words) else None
        text = self._matching(re.compile(r"[0-9]+"), f"a whole number from {low} to {high}")
        if len(text) > 9 or not low <= int(text) <= high:
            self._fail(word, f"not from {low} to {high}", hint)
        return int(text)

    def _matching(self, pattern: re.Pattern[str], what: str) -> str:
        text = self._peek()
        if not text:
            self._fail(None, f"{what} is missing here", "")
        if not pattern.fullmatch(text):
            self._fail(self._words[self._at], f"not {what}", "")
        self._at += 1
        return text

    def _choice(self, what: str, known: Sequence[str]) -> str:
        text = self._peek()
        if not text:
            self._fail(None, f"the {what} is missing here", _options("", known))
        if text not in known:
            self._fail(self._words[self._at], f"no such {what}", _options(text, known))
        self._at += 1
        return text

    def _peek(self) -> str:
        return self._words[self._at].text if self._at < len(self._words) else ""

    def _fail(self, word: _Word | None, what: str, hint: str) -> NoReturn:
        end = len(self._text.rstrip())
        missing = end + 1 if end else 0
        _fail(self._text, word or _Word("", missing, missing + 1), what, hint)


_EXAMPLES = {
    Action.DELAY: "delay quick-mode 3 by 500ms",
    Action.REPLAY: "replay quick-mode 1 by 2s",
    Action.HOLD: "hold create-child-sa 2 until child-sa.installed",
}


def _options(text: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(text, known, n=1)
    return f"did you mean {close[0]}?" if close else f"one of {', '.join(known)}"


def _span(text: str) -> tuple[int, int]:
    begin = len(text) - len(text.lstrip())
    return begin, len(text.rstrip())


def _fail(text: str, word: _Word, what: str, hint: str) -> NoReturn:
    shown = "".join(" " if letter.isspace() else letter for letter in text.rstrip())
    caret = " " * word.begin + "^" * max(word.end - word.begin, 1)
    lines = [f"fault: {what}", f"  {shown}", f"  {caret}"]
    raise errors.ParameterError("\n".join([*lines, *([f"  {hint}"] if hint else [])]))
