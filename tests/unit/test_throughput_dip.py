"""How deep a stream's throughput fell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.events import event
from orchestrator.continuity.flow_logs import ReceivedLog, SentLog
from orchestrator.continuity.throughput import deepest_dip
from orchestrator.scenarios import address_hop_evidence as evidence

MS = 1_000_000
DELAY = 20
STEADY = list(range(3000))


def logs(sent_ms, received_ms):
    """Of a record a millisecond, sent and received at these times; those that are missing are None."""
    pairs = list(zip(sent_ms, received_ms, strict=True))
    order = np.arange(len(pairs), dtype=np.int64)
    at = np.array([one for one, _ in pairs], np.int64) * MS
    sent = SentLog(
        flow_id=1, interval_ns=MS, sequence=order, sent_ns=at, returned_ns=at, errno=np.zeros(len(at), "u4")
    )
    came = [number for number, (_, received) in enumerate(pairs) if received is not None]
    received = ReceivedLog(
        flow_id=1,
        sequence=order[came],
        received_ns=np.array([pairs[number][1] for number in came], np.int64) * MS,
        sent_ns=at[came],
    )
    return sent, received


def dip(sent_ms, received_ms, start=1000, end=2000, bin_ms=100):
    return deepest_dip(*logs(sent_ms, received_ms), start_ns=start * MS, end_ns=end * MS, bin_ns=bin_ms * MS)


def delivered(sent_ms, held=(0, 0)):
    """Each a delay later, but what would come in ``held`` comes at its end."""
    begin, end = held
    return [end if begin <= at + DELAY < end else at + DELAY for at in sent_ms]


def test_a_steady_stream_has_none():
    assert dip(STEADY, delivered(STEADY)).percent == pytest.approx(0, abs=1)


def test_a_standstill_of_half_a_bin_is_half_wherever_it_falls():
    for begin in (1200, 1233, 1290):
        found = dip(STEADY, delivered(STEADY, held=(begin, begin + 50)))
        assert found.percent == pytest.approx(50, abs=3)


def test_a_standstill_longer_than_a_bin_is_all_of_it_although_the_rest_comes_in_a_burst():
    found = dip(STEADY, delivered(STEADY, held=(1200, 1400)))
    assert (found.percent, found.arrived, found.offered) == (100, 0, 100)
    assert 1200 * MS <= found.at_ns <= 1300 * MS


def test_a_pause_of_the_sender_is_no_dip():
    sent = [at for at in STEADY if not 1200 <= at < 1400]
    assert dip(sent, delivered(sent)).percent == pytest.approx(0, abs=2)


def test_only_the_asked_time_counts():
    assert dip(STEADY, delivered(STEADY, held=(500, 700))).percent == pytest.approx(0, abs=1)


def test_a_stream_that_never_comes_back_stands_still():
    assert dip(STEADY, [at + DELAY if at < 1500 else None for at in STEADY]).percent == 100


def test_of_nothing_there_is_no_dip():
    assert dip([], []) is None
    assert dip(STEADY, [None for _ in STEADY]) is None


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=300), st.integers(0, 500))
def test_a_dip_is_a_share(times, delay):
    found = dip(sorted(times), [at + delay for at in sorted(times)], bin_ms=1)
    assert found is None or 0 <= found.percent <= 100


def test_what_a_stream_does_before_the_address_changes_is_no_dip():
    """The hop daemon told of its addresses before the stream began, and the stream began slowly."""
    late = [at + 100 for at in STEADY]
    events = [
        event("address.added", node="a", time_ns=50 * MS),
        event("hop.started", node="a", time_ns=1000 * MS),
    ]
    found = evidence.dip(*logs(late, delivered(late, held=(150, 400))), events, "a")
    assert found == pytest.approx(0, abs=1)
    found = evidence.dip(*logs(late, delivered(late, held=(1200, 1250))), events, "a")
    assert found == pytest.approx(50, abs=3)


def test_a_stream_that_no_change_came_to_is_not_praised_for_it():
    assert evidence.dip(*logs(STEADY, delivered(STEADY)), [], "a") == 100
