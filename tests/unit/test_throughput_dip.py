"""How deep a stream's throughput fell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.continuity.flow_logs import ReceivedLog
from orchestrator.continuity.throughput import deepest_dip

MS = 1_000_000


def log(times_ms):
    times = np.array([round(at * MS) for at in times_ms], np.int64)
    order = np.arange(len(times), dtype=np.int64)
    return ReceivedLog(flow_id=1, sequence=order, received_ns=times, sent_ns=times)


def dip(times_ms, start=1000, end=2000, bin_ms=100):
    return deepest_dip(log(times_ms), start_ns=start * MS, end_ns=end * MS, bin_ns=bin_ms * MS)


def steady(first=0, last=3000):
    return list(range(first, last))


def test_a_steady_stream_has_none():
    assert dip(steady()).percent == pytest.approx(0, abs=1)


def test_a_standstill_of_half_a_bin_is_half_wherever_it_falls():
    for begin in (1200, 1233, 1290):
        times = [at for at in steady() if not begin <= at < begin + 50]
        assert dip(times).percent == pytest.approx(50, abs=3)


def test_a_standstill_longer_than_a_bin_is_all_of_it():
    found = dip([at for at in steady() if not 1200 <= at < 1400])
    assert (found.percent, found.least, found.usual) == (100, 0, 100)
    assert 1200 * MS <= found.at_ns <= 1300 * MS


def test_what_comes_late_in_a_burst_does_not_hide_the_standstill():
    times = [at if not 1200 <= at < 1300 else 1300 for at in steady()]
    assert dip(times).percent == 100


def test_only_the_asked_time_counts():
    assert dip([at for at in steady() if not 500 <= at < 700]).percent < 5


def test_a_stream_that_never_comes_back_stands_still():
    assert dip([at for at in steady() if at < 1500]).percent == 100


def test_of_nothing_there_is_no_dip():
    assert dip([]) is None


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=300))
def test_a_dip_is_a_share(times):
    found = dip(times)
    assert 0 <= found.percent <= 100
