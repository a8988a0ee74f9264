"""Faults in words: what they mean, and errors that point at the word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import errors
from nodes.faults.grammar import parse, parse_all
from nodes.faults.messages import FIELDS, Exchange, versions_of
from nodes.faults.rule import Action, Rule, is_until

NODES = ("peer-a", "peer-b")
ALIASES = {"INITIATOR": "peer-a", "RESPONDER": "peer-b"}
MS = 1_000_000

MEANINGS = {
    "drop quick-mode 3": Rule(action=Action.DROP, exchange=Exchange.QUICK_MODE, message=3),
    "delay quick-mode 3 from peer-a by 500ms": Rule(
        action=Action.DELAY, exchange=Exchange.QUICK_MODE, message=3, source="peer-a", by_ns=500 * MS
    ),
    "duplicate ike-auth 1": Rule(action=Action.DUPLICATE, exchange=Exchange.IKE_AUTH, message=1),
    "corrupt main-mode 5 octet 40": Rule(
        action=Action.CORRUPT, exchange=Exchange.MAIN_MODE, message=5, octet=40
    ),
    "corrupt ike-sa-init 1 field version": Rule(
        action=Action.CORRUPT, exchange=Exchange.IKE_SA_INIT, message=1, field="version"
    ),
    "replay quick-mode 1 by 2s": Rule(
        action=Action.REPLAY, exchange=Exchange.QUICK_MODE, message=1, by_ns=2000 * MS
    ),
    "hold create-child-sa 2 until sa-installed": Rule(
        action=Action.HOLD, exchange=Exchange.CREATE_CHILD_SA, message=2, until="sa-installed"
    ),
    "drop informational always": Rule(action=Action.DROP, exchange=Exchange.INFORMATIONAL, occurrence=None),
    "drop ikev1 informational occurrence 2 with retransmissions": Rule(
        action=Action.DROP,
        exchange=Exchange.INFORMATIONAL,
        version=1,
        occurrence=2,
        retransmissions=True,
    ),
    "drop quick-mode to RESPONDER from INITIATOR": Rule(
        action=Action.DROP, exchange=Exchange.QUICK_MODE, source="peer-a", destination="peer-b"
    ),
    "delay aggressive-mode 2 by 1.5ms": Rule(
        action=Action.DELAY, exchange=Exchange.AGGRESSIVE_MODE, message=2, by_ns=1_500_000
    ),
}


@pytest.mark.parametrize(("text", "rule"), MEANINGS.items(), ids=MEANINGS.keys())
def test_a_rule_in_words_means(text, rule):
    assert parse(text, nodes=NODES, aliases=ALIASES) == rule


REFUSED = {
    "": ("", "the action is missing here", "^"),
    "an unknown action": ("destroy quick-mode 3", "no such action", "^^^^^^^"),
    "an action in capitals": ("Drop quick-mode 3", "did you mean drop?", "^^^^"),
    "no exchange": ("drop", "the exchange is missing here", "     ^"),
    "a misspelt exchange": ("drop quik-mode 3", "did you mean quick-mode?", "     ^^^^^^^^^"),
    "a message that does not exist": (
        "drop quick-mode 4",
        "quick-mode has messages 1 to 3",
        "                ^",
    ),
    "message 0": ("drop ike-auth 0", "not from 1 to 999", "              ^"),
    "a message that IKEv1's has not": (
        "drop ikev1 informational 2",
        "informational of IKEv1 has 1",
        "                         ^",
    ),
    "an exchange of the other version": (
        "drop ikev2 quick-mode",
        "IKEv2 has no quick-mode; IKEv1 has",
        "           ^^^^^^^^^^",
    ),
    "an unknown node": (
        "drop quick-mode 3 from peer-c",
        "there is no such node",
        "                       ^^^^^^",
    ),
    "no node": ("drop quick-mode 3 from", "a node is missing here", "                       ^"),
    "a node to itself": (
        "drop quick-mode from peer-a to INITIATOR",
        "a node sends no IKE message to itself",
        "                            ^^",
    ),
    "an occurrence of 0": ("drop quick-mode occurrence 0", "not from 1", "                           ^"),
    "both occurrence and always": (
        "drop quick-mode occurrence 2 always",
        "`always` and `occurrence` exclude each other",
        "                             ^^^^^^",
    ),
    "a clause twice": (
        "drop quick-mode always always",
        "`always` is said twice",
        "                       ^^^^^^",
    ),
    "with what": ("drop quick-mode with care", "no such word", "                     ^^^^"),
    "a time for a drop": (
        "drop quick-mode 3 by 2s",
        "`by` goes with delay and replay, not with drop",
        "                  ^^",
    ),
    "a delay without a time": ("delay quick-mode 3", "delay needs `by TIME`", "                   ^"),
    "a hold without an event": ("hold quick-mode 3", "hold needs `until EVENT`", "                  ^"),
    "a time without a unit": ("delay quick-mode by 5", "not a time", "                    ^"),
    "a time of nothing": ("delay quick-mode by 0ms", "not a time", "                    ^^^"),
    "a time that is too long": ("delay quick-mode by 3601s", "not a time", "                    ^^^^^"),
    "an event that is none": (
        "hold quick-mode until ?",
        "not the kind of an event",
        "                      ^",
    ),
    "an unknown field": (
        "corrupt quick-mode field cookie",
        "no such field of the IKE header",
        "                         ^^^^^^",
    ),
    "an octet that is none": (
        "corrupt quick-mode octet -1",
        "not a whole number",
        "                         ^^",
    ),
    "an octet and a field": (
        "corrupt quick-mode octet 1 field flags",
        "`field` and `octet` exclude each other",
        "                           ^^^^^",
    ),
    "a word too many": ("drop quick-mode 3 now", "no such clause", "                  ^^^"),
    "after a tab": ("drop\tquick", "no such exchange", "     ^^^^^"),
}


@pytest.mark.parametrize(("text", "said", "caret"), REFUSED.values(), ids=REFUSED.keys())
def test_an_error_points_at_the_word(text, said, caret):
    with pytest.raises(errors.ParameterError) as refused:
        parse(text, nodes=NODES, aliases=ALIASES)
    what, shown, pointer, *hint = str(refused.value).splitlines()
    assert said in " ".join([what, *hint])
    assert shown == "  " + text.replace("\t", " ")
    assert pointer == "  " + caret


NEVER = [
    ("drop quick-mode 3 always", "delay quick-mode 3 by 1s"),
    ("drop quick-mode 3 always", "delay quick-mode 3 always by 1s"),
    ("drop quick-mode always", "corrupt quick-mode 2 from peer-b"),
    ("drop informational always", "drop ikev2 informational 2 occurrence 3"),
    ("drop quick-mode 3", "drop quick-mode 3"),
    ("drop quick-mode 3 occurrence 2", "delay quick-mode 3 occurrence 2 by 1s"),
    ("delay main-mode 1 with retransmissions by 1s", "drop main-mode 1"),
    ("drop main-mode 1 always with retransmissions", "drop main-mode 3"),
]


@pytest.mark.parametrize(("first", "second"), NEVER)
def test_a_fault_that_can_never_act_is_refused(first, second):
    with pytest.raises(errors.ParameterError, match="can never act") as refused:
        parse_all([first, second], nodes=NODES)
    assert second in str(refused.value)
    assert first in str(refused.value)


TOGETHER = [
    ("delay quick-mode 3 by 1s", "drop quick-mode 3 always"),
    ("drop quick-mode 3", "drop quick-mode 3 occurrence 2"),
    ("drop quick-mode 3 from peer-a always", "drop quick-mode 3 from peer-b always"),
    ("drop quick-mode 3 always", "drop quick-mode 3 always with retransmissions"),
    ("drop ikev1 informational always", "drop informational always"),
    ("drop quick-mode", "delay quick-mode 3 by 1s"),
    ("drop main-mode 1 always", "drop main-mode 3"),
]


@pytest.mark.parametrize("texts", TOGETHER)
def test_faults_that_can_both_act_are_taken_together(texts):
    assert [str(rule) for rule in parse_all(texts, nodes=NODES)] == list(texts)


def test_a_later_fault_is_held_against_those_in_force():
    before = parse_all(["drop quick-mode 3 always"])
    with pytest.raises(errors.ParameterError, match="can never act"):
        parse_all(["delay quick-mode 3 by 1s"], before=before)


@st.composite
def rules(draw):
    exchange = draw(st.sampled_from(Exchange))
    action = draw(st.sampled_from(Action))
    version = draw(st.sampled_from([None, *versions_of(exchange)]))
    most = {"main-mode": 6, "aggressive-mode": 3, "quick-mode": 3, "create-child-sa": 2}.get(exchange, 1)
    source, destination = draw(
        st.sampled_from([(None, None), ("peer-a", None), (None, "x1"), ("x1", "peer-a")])
    )
    times = st.integers(1, 3_600_000_000).map(lambda us: us * 1000)
    by = draw(times) if action in (Action.DELAY, Action.REPLAY) else None
    where = {}
    if action is Action.CORRUPT:
        where = draw(
            st.sampled_from([{}, {"octet": 0}, {"octet": 65_499}, *({"field": name} for name in FIELDS)])
        )
    return Rule(
        action=action,
        exchange=exchange,
        version=version,
        message=draw(st.none() | st.integers(1, most)),
        source=source,
        destination=destination,
        occurrence=draw(st.none() | st.integers(1, 1_000_000)),
        retransmissions=draw(st.booleans()),
        by_ns=by,
        until=draw(st.sampled_from(["sa-installed", "child-sa.installed"]))
        if action is Action.HOLD
        else None,
        **where,
    )


@given(rules())
def test_every_rule_reads_back_from_its_own_words(rule):
    assert parse(str(rule)) == rule


WORDS = [
    *Action,
    *Exchange,
    "from",
    "to",
    "by",
    "1s",
    "500ms",
    "octet",
    "always",
    "3",
    "peer-a",
    "until",
    "x",
]


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=8).map(" ".join))
def test_no_text_fails_otherwise_than_with_a_caret(text):
    said = []
    try:
        rule = parse(text)
    except errors.ParameterError as error:
        said = str(error).splitlines()
    assert ("^" in said[2]) if said else (parse(str(rule)) == rule)


@pytest.mark.parametrize(
    ("until", "kind", "ends"),
    [
        ("child-sa.installed", "child-sa.installed", True),
        ("sa-installed", "child-sa.installed", True),
        ("installed", "child-sa.installed", True),
        ("a-installed", "child-sa.installed", False),
        ("child-sa.installed", "child-sa.deleted", False),
        ("ike-sa.established", "child-sa.installed", False),
    ],
)
def test_an_event_is_named_by_its_kind_or_how_that_ends(until, kind, ends):
    assert is_until(until, kind) is ends
