"""What the timeline shows of flows, SAs and addresses."""

import numpy as np
import pytest
from report_examples import MS, ORIGIN, child, event, write_evidence

from orchestrator.capture.classify import classify
from orchestrator.continuity import ReceivedLog, SentLog
from orchestrator.evidence.read import FlowLogs, read_evidence
from orchestrator.evidence.verdict import Interruption
from orchestrator.report.address_lines import address_lines
from orchestrator.report.flow_track import BUCKETS, flow_track
from orchestrator.report.hop_lines import hop_lines
from orchestrator.report.moments import Frames
from orchestrator.report.sa_lines import esp_by_spi, sa_lines


def logs(count, *, interval_ns=2 * MS, lost=(), delay_ns=250_000, late=()):
    sequence = np.arange(count, dtype=np.int64)
    sent_ns = ORIGIN + sequence * interval_ns
    there = ~np.isin(sequence, lost)
    delays = np.full(count, delay_ns)
    for number, ns in late:
        delays[number] = ns
    return FlowLogs(
        sent=SentLog(
            flow_id=1,
            interval_ns=interval_ns,
            sequence=sequence,
            sent_ns=sent_ns,
            returned_ns=sent_ns,
            errno=np.zeros(count, np.uint32),
        ),
        received=ReceivedLog(
            flow_id=1,
            sequence=sequence[there],
            received_ns=(sent_ns + delays)[there],
            sent_ns=sent_ns[there],
        ),
    )


def track(flow, interruptions=(), points=1000):
    return flow_track(flow, interruptions, origin_ns=ORIGIN, points=points)


def test_every_arrival_and_every_loss_is_counted_in_a_bucket():
    found = track(logs(5000, lost=range(100, 150)))
    assert sum(found["arrived"]) == 4950
    assert sum(found["lost"]) == 50
    assert len(found["arrived"]) <= BUCKETS


def test_a_single_spike_among_a_million_probes_does_not_disappear():
    found = track(logs(1_000_000, late=[(777_777, 321 * MS)]))
    assert max(found["high"]) == 321_000
    assert found["high"].count(321_000) == 1


def test_a_short_flow_has_each_arrival():
    (detail,) = track(logs(100, lost=[3]))["details"]
    assert detail["whole"]
    assert (len(detail["steps"]), set(detail["delays"])) == (99, {250})
    assert detail["steps"][:4] == [0, 2000, 2000, 4000]


def test_a_long_flow_has_each_arrival_around_its_interruptions():
    flow = logs(500_000, lost=range(250_000, 250_500))
    interruption = Interruption(start_ms=500_000.0, end_ms=501_000.0, lost=500)
    found = track(flow, [interruption], points=5000)
    (detail,) = found["details"]
    assert detail["start"] < 500_000 < 501_000 < detail["end"]
    assert 200 <= len(detail["steps"]) <= 5000


def test_the_budget_of_points_is_kept_and_goes_to_the_longest_interruption():
    flow = logs(500_000)
    spans = [(100_000.0, 100_010.0), (300_000.0, 300_900.0), (600_000.0, 600_020.0)]
    interruptions = [Interruption(start_ms=start, end_ms=end, lost=0) for start, end in spans]
    found = track(flow, interruptions, points=800)
    (detail,) = found["details"]
    assert detail["start"] < 300_000 < detail["end"]


def test_lost_probes_are_told_in_runs():
    assert track(logs(1000, lost=[10, *range(500, 520)]))["losses"] == [[20.0, 20.0, 1], [1000.0, 1038.0, 20]]


def test_a_flow_of_which_nothing_arrived_has_a_track():
    found = track(logs(100, lost=range(100)))
    assert (sum(found["arrived"]), sum(found["lost"]), found["details"]) == (0, 100, [])


def test_a_flow_without_logs_has_none():
    assert track(FlowLogs()) is None


def test_a_rekey_ends_one_sa_and_begins_another():
    lines = sa_lines(
        [
            event(1, "peer-a", "child-sa.installed", **child(1, "aa", "bb")),
            event(5, "peer-a", "child-sa.rekeyed", old=child(1, "aa", "bb"), new=child(2, "cc", "dd")),
            event(9, "peer-a", "child-sa.deleted", **child(2, "cc", "dd")),
        ]
    )
    told = [(one.name, one.inbound, one.start_ns, one.end_ns, one.ended_by) for one in lines]
    assert told == [
        ("inner{1}", "aa", ORIGIN + MS, ORIGIN + 5 * MS, "child-sa.rekeyed"),
        ("inner{2}", "cc", ORIGIN + 5 * MS, ORIGIN + 9 * MS, "child-sa.deleted"),
    ]


def test_an_endpoint_tells_of_each_sa_by_itself_from_installed_to_deleted():
    old, new = child(1, "aa", "bb"), child(2, "cc", "dd")
    lines = sa_lines(
        [
            event(1, "endpoint", "child-sa.installed", **old),
            event(2, "endpoint", "child-sa.effective", **old, reason="qm3"),
            event(5, "endpoint", "child-sa.installed", **new),
            event(6, "endpoint", "child-sa.effective", **new, reason="esp"),
            event(6, "endpoint", "child-sa.rekeyed", old=old, new=new),
            event(6, "endpoint", "child-sa.old", **old),
            event(9, "endpoint", "child-sa.deleted", **old, reason="delete"),
        ]
    )
    told = [(one.inbound, one.start_ns, one.effective_ns, one.effective_by, one.old_ns) for one in lines]
    assert told == [
        ("aa", ORIGIN + MS, ORIGIN + 2 * MS, "qm3", ORIGIN + 6 * MS),
        ("cc", ORIGIN + 5 * MS, ORIGIN + 6 * MS, "esp", None),
    ]
    assert [(one.end_ns, one.ended_by) for one in lines] == [
        (ORIGIN + 9 * MS, "child-sa.deleted: delete"),
        (None, ""),
    ]


def test_an_sa_whose_beginning_was_not_told_begins_before():
    (line,) = sa_lines([event(5, "peer-a", "child-sa.deleted", **child(1, "aa", "bb"))])
    assert (line.start_ns, line.end_ns) == (None, ORIGIN + 5 * MS)


def test_the_same_number_at_two_nodes_is_two_sas():
    events = [
        event(1, node, "ike-sa.established", name="tunnel", unique_id=1) for node in ("peer-a", "peer-b")
    ]
    assert [one.node for one in sa_lines(events)] == ["peer-a", "peer-b"]


def test_the_esp_packets_of_an_spi_are_counted_with_the_first_and_the_last(tmp_path):
    capture = read_evidence(write_evidence(tmp_path / "e")).capture
    found = esp_by_spi(Frames.of(capture), classify(capture.packets))
    assert (found["11111111"].packets, found["11111111"].first, found["11111111"].last) == (2, 6, 7)
    assert found["22222222"].first_ns == ORIGIN + 160 * MS


@pytest.mark.parametrize("removed", [True, False])
def test_an_address_lives_from_added_to_removed(removed):
    events = [
        event(1, "terminal-a", "address.added", address="fd00::1", preferred=2.0, valid=5.0),
        event(2001, "terminal-a", "address.deprecated", address="fd00::1"),
        *([event(5001, "terminal-a", "address.removed", address="fd00::1")] if removed else []),
    ]
    (line,) = address_lines(events)
    assert (line.start_ns, line.deprecated_ns) == (ORIGIN + MS, ORIGIN + 2001 * MS)
    assert line.end_ns == (ORIGIN + 5001 * MS if removed else None)
    assert (line.preferred_s, line.valid_s) == (2.0, 5.0)


def test_the_packet_before_a_moment_and_those_of_a_time(tmp_path):
    frames = Frames.of(read_evidence(write_evidence(tmp_path / "e")).capture)
    assert frames.number_before(ORIGIN + 21 * MS) == 4
    assert frames.number_before(ORIGIN) == 0
    assert frames.numbers_within(ORIGIN + 20 * MS, ORIGIN + 150 * MS) == (3, 7)
    assert frames.numbers_within(ORIGIN + 200 * MS, ORIGIN + 300 * MS) is None


PHASES = {
    "asked": 2.0,
    "answered": 6.5,
    "prepared": 10.25,
    "switched": 11.0,
    "acknowledged": 13.5,
    "closed": 41.0,
}


def hop_events(*, closed=True):
    yield event(100, "terminal-a", "hop.started", hop=1, first="fd00::a", second="fd00::c")
    yield event(104, "terminal-a", "hop.asked", hop=1, partner="terminal-b", services=4)
    yield event(112, "terminal-a", "hop.prepared", hop=1, partner="terminal-b", services=4)
    if closed:
        data = {"phases_ms": PHASES, "outcomes": {"hopped": 4}, "first": "fd00::a", "second": "fd00::c"}
        yield event(142, "terminal-a", "hop.closed", hop=1, **data)


def test_a_closed_hop_has_the_phases_that_it_told_counted_from_its_own_beginning():
    (line,) = hop_lines(hop_events())
    assert (line.node, line.number, line.first, line.second) == ("terminal-a", 1, "fd00::a", "fd00::c")
    assert line.phases_ms == PHASES
    assert line.end_ns - line.start_ns == 41 * MS
    assert line.outcomes == {"hopped": 4}


def test_a_hop_that_was_not_closed_has_the_phases_that_it_came_to():
    (line,) = hop_lines(hop_events(closed=False))
    assert line.end_ns is None
    assert line.phases_ms == {"asked": 4.0, "prepared": 12.0}


def test_a_hop_that_came_to_nothing_says_why():
    failed = event(120, "terminal-a", "hop.failed", hop=1, first="fd00::a", reason="the pool is exhausted")
    (line,) = hop_lines([*hop_events(closed=False), failed])
    assert line.failed == "the pool is exhausted"
    assert line.end_ns == failed.time_ns


def test_hops_of_two_nodes_with_one_number_are_two_hops():
    other = event(101, "terminal-b", "hop.started", hop=1, first="fd00::b", second="fd00::d")
    assert [line.node for line in hop_lines([*hop_events(), other])] == ["terminal-a", "terminal-b"]
