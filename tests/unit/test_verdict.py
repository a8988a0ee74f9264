import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from verdict_examples import WHOLE, check, flow, some_verdict

from nodes.errors import UsageError
from orchestrator.evidence import verdict as verdicts
from orchestrator.evidence.verdict import CaptureTotals, Check, Outcome, Verdict, overall

PASS, FAIL, INCONCLUSIVE, ERROR = Outcome
LOSSY = CaptureTotals(packets=100, dropped=1)


def test_the_file_has_the_fields_of_the_schema_in_their_order():
    text = verdicts.encode(some_verdict())
    assert json.loads(text) == {
        "schema": "hopbed.verdict/1",
        "scenario": "rekey",
        "parameters": {"ike": 2, "pfs": True},
        "seed": 7,
        "runtime": "namespaces",
        "dataplane": "userspace",
        "dad": "nodad",
        "outcome": "pass",
        "checks": [{"name": "a check", "expected": 0, "measured": 1, "outcome": "pass"}],
        "flows": [
            {
                "name": "a-b",
                "source": "a",
                "destination": "b",
                "transport": "udp",
                "sent": 10,
                "received": 0,
                "lost": 0,
                "duplicated": 0,
                "reordered": 0,
                "longest_gap_ms": 2.5,
                "delay_p50_ms": 0.25,
                "delay_p99_ms": 0.5,
                "delay_max_ms": 1.5,
                "loss_derived_ms": 4000.0,
                "timestamp_derived_ms": 3999.5,
                "interruptions": [{"start_ms": 1.5, "end_ms": 4001.0, "lost": 2000, "event": "qm3"}],
            }
        ],
        "capture": {"packets": 100, "dropped": 0},
        "versions": {"kernel": "Linux 6.1"},
    }
    assert list(json.loads(text)) == list(Verdict.__struct_fields__)


def test_a_flow_of_which_only_the_counts_are_known_has_no_figures_of_time():
    found = json.loads(msgspec.json.encode(flow()))
    names = ("delay_p50_ms", "delay_p99_ms", "delay_max_ms", "loss_derived_ms", "timestamp_derived_ms")
    assert [found[name] for name in names] == [None] * 5


def test_what_was_not_met_is_told_a_line_for_each_check():
    checks = [
        Check(name="rekeys", expected=5, measured=5, outcome=Outcome.PASS),
        Check(name="lost", expected=0, measured=3, outcome=Outcome.FAIL),
        Check(name="evidence", expected="whole", measured="cut short", outcome=Outcome.INCONCLUSIVE),
    ]
    found = msgspec.structs.replace(some_verdict(), checks=tuple(checks)).unmet()
    assert found.splitlines() == [
        "fail: lost: expected 0, measured 3",
        "inconclusive: evidence: expected whole, measured cut short",
    ]


def test_what_is_written_can_be_read():
    assert verdicts.decode(verdicts.encode(some_verdict())) == some_verdict()


def test_a_field_that_a_later_version_adds_is_no_harm():
    values = json.loads(verdicts.encode(some_verdict())) | {"delays": [1, 2]}
    assert verdicts.decode(json.dumps(values).encode()) == some_verdict()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            b'{"schema": "hopbed.verdict/2"}',
            "schema 'hopbed.verdict/2'; this Hopbed reads 'hopbed.verdict/1'",
        ),
        (b'{"schema": "other/1"}', "its schema is 'other/1'"),
        (b"{}", "its schema is 'None'"),
        (b'{"schema": "hopbed.verdict/1"}', "missing required field"),
        (b"[1]", "not a verdict"),
        (b"\xff", "not a verdict"),
        (b"", "not a verdict"),
    ],
)
def test_what_is_no_verdict_of_this_schema_is_a_clear_error(text, error):
    with pytest.raises(UsageError, match=error):
        verdicts.decode(text)


@pytest.mark.parametrize(
    ("checks", "flows", "capture", "outcome"),
    [
        ([PASS, PASS], [10, 20], WHOLE, PASS),
        ([PASS], [], WHOLE, PASS),
        ([PASS, FAIL], [10], WHOLE, FAIL),
        ([PASS, INCONCLUSIVE], [10], WHOLE, INCONCLUSIVE),
        ([INCONCLUSIVE, FAIL], [10], WHOLE, FAIL),
        ([FAIL, ERROR], [10], WHOLE, ERROR),
        ([PASS], [10], LOSSY, INCONCLUSIVE),
        ([FAIL], [10], LOSSY, FAIL),
        ([PASS], [10, 0], WHOLE, INCONCLUSIVE),
        ([FAIL], [0], WHOLE, FAIL),
        ([], [10], WHOLE, INCONCLUSIVE),
    ],
)
def test_the_outcome_of_a_run(checks, flows, capture, outcome):
    assert overall([check(c) for c in checks], [flow(sent) for sent in flows], capture) is outcome


@given(st.lists(st.sampled_from(Outcome)), st.lists(st.integers(0, 2)), st.integers(0, 2))
def test_a_run_passes_only_if_nothing_at_all_speaks_against_it(checks, sent, dropped):
    capture = CaptureTotals(packets=9, dropped=dropped)
    passed = overall([check(c) for c in checks], [flow(s) for s in sent], capture) is PASS
    assert passed == (set(checks) == {PASS} and all(sent) and not dropped)


def test_a_check_may_hold_any_json():
    said = Check.of("packets", expected=[], measured={"first": [1, 2]}, passed=False)
    assert said.outcome is FAIL
    assert msgspec.json.decode(msgspec.json.encode(said), type=Check) == said
