"""The continuity arithmetic: what is an interruption, how long it is, and what is none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from orchestrator.continuity import Continuity, Interruption, continuity

MS = 1_000_000
INTERVAL = MS  # 1 kHz
DELAY = 300_000
START = 5_000 * MS


@dataclasses.dataclass
class Flow:
    """A flow of 1 kHz over a path with a constant delay, to be disturbed."""

    count: int = 3000

    def __post_init__(self) -> None:
        self.sent = np.arange(self.count)
        self.sent_ns = START + self.sent * INTERVAL
        self.received = self.sent.copy()
        self.received_ns = self.sent_ns + DELAY

    def drop(self, *numbers: slice) -> None:
        keep = np.ones(self.count, dtype=bool)
        for span in numbers:
            keep[span] = False
        self.received, self.received_ns = self.received[keep], self.received_ns[keep]

    def hold(self, first: int, hold_ns: int) -> int:
        """From the moment that ``first`` is under way the network holds everything for ``hold_ns``."""
        release = self.sent_ns[first] + DELAY + hold_ns
        held = (self.received >= first) & (self.received_ns < release)
        self.received_ns = np.where(held, release, self.received_ns)
        return int(release)

    def pause_sender(self, before: int, pause_ns: int) -> None:
        self.sent_ns = self.sent_ns + np.where(self.sent >= before, pause_ns, 0)
        self.received_ns = self.received_ns + np.where(self.received >= before, pause_ns, 0)

    def result(self, **settings: float) -> Continuity:
        return continuity(
            self.sent, self.sent_ns, self.received, self.received_ns, interval_ns=INTERVAL, **settings
        )


def test_an_undisturbed_flow_has_no_interruption():
    result = Flow().result()
    assert (result.sent, result.received, result.lost) == (3000, 3000, 0)
    assert (result.duplicated, result.reordered, result.unexpected) == (0, 0, 0)
    assert result.interruptions == ()
    assert result.longest_gap_ms == 0
    assert result.delay is not None
    assert (result.delay.p50_ms, result.delay.p99_ms, result.delay.max_ms) == (0.3, 0.3, 0.3)


@pytest.mark.parametrize("lost", [1, 5, 20, 100, 1000])
def test_probes_lost_in_a_row_are_their_number_times_the_interval(lost):
    flow = Flow()
    flow.drop(slice(700, 700 + lost))
    result = flow.result()
    start = START + 700 * INTERVAL + DELAY
    assert result.interruptions == (Interruption(start_ns=start, end_ns=start + lost * MS, lost=lost),)
    assert result.lost == lost
    assert result.longest_gap_ms == result.loss_derived_ms == result.timestamp_derived_ms == lost


@pytest.mark.parametrize("hold_ms", [20, 100, 1000])
def test_a_network_that_holds_everything_is_interrupted_for_as_long(hold_ms):
    flow = Flow()
    release = flow.hold(700, hold_ms * MS)
    result = flow.result()
    assert result.interruptions == (Interruption(start_ns=release - hold_ms * MS, end_ns=release, lost=0),)
    assert (result.lost, result.loss_derived_ms) == (0, 0)
    assert result.timestamp_derived_ms == hold_ms


@pytest.mark.parametrize("hold_ms", [1, 5, 19])
def test_a_hold_below_the_stall_limit_is_only_the_longest_gap(hold_ms):
    flow = Flow()
    flow.hold(700, hold_ms * MS)
    result = flow.result()
    assert result.interruptions == ()
    assert result.longest_gap_ms == hold_ms


def test_the_stall_limit_can_be_set():
    flow = Flow()
    flow.hold(700, 5 * MS)
    assert [i.outage_ms for i in flow.result(stall_ms=5).interruptions] == [5]
    assert flow.result(stall_ms=5.1).interruptions == ()


@pytest.mark.parametrize("pause_ms", [1, 5, 20, 100, 1000])
def test_a_paused_sender_is_no_interruption(pause_ms):
    flow = Flow()
    flow.pause_sender(700, pause_ms * MS)
    result = flow.result()
    assert result.interruptions == ()
    assert result.longest_gap_ms == 0


@pytest.mark.parametrize("pause_before", [700, 800])
def test_a_pause_of_the_sender_beside_a_loss_neither_hides_nor_lengthens_it(pause_before):
    flow = Flow()
    flow.pause_sender(pause_before, 200 * MS)
    flow.drop(slice(700, 800))
    (found,) = flow.result().interruptions
    assert (found.lost, found.outage_ms) == (100, 100)
    assert found.start_ns == flow.sent_ns[700] + DELAY


def test_a_pause_of_the_sender_between_two_lost_probes_is_not_taken_for_service():
    flow = Flow()
    flow.pause_sender(750, 200 * MS)
    flow.drop(slice(700, 800))
    result = flow.result()
    assert [(i.lost, i.outage_ms) for i in result.interruptions] == [(100, 300)]
    assert (result.loss_derived_ms, result.timestamp_derived_ms) == (100, 300)


def test_the_jitter_of_the_sender_does_not_add_up_over_a_long_loss():
    flow = Flow()
    late = np.random.default_rng(1).integers(0, MS, flow.count)
    flow.sent_ns = flow.sent_ns + late
    flow.received_ns = flow.received_ns + late
    flow.drop(slice(700, 1700))
    result = flow.result()
    assert result.loss_derived_ms == 1000
    assert result.timestamp_derived_ms == pytest.approx(1000, abs=1)  # one interval


def test_a_sender_stopped_between_the_clock_and_the_call_is_no_interruption():
    flow = Flow()
    flow.pause_sender(700, 200 * MS)
    returned_ns = flow.sent_ns + 20_000
    flow.sent_ns[700] -= 200 * MS  # the clock was read, then the sender was stopped
    result = continuity(
        flow.sent,
        flow.sent_ns,
        flow.received,
        flow.received_ns,
        interval_ns=INTERVAL,
        returned_ns=returned_ns,
    )
    assert result.interruptions == ()


def test_a_long_call_hides_no_loss():
    flow = Flow()
    returned_ns = flow.sent_ns + 50 * MS
    flow.drop(slice(700, 800))
    result = continuity(
        flow.sent,
        flow.sent_ns,
        flow.received,
        flow.received_ns,
        interval_ns=INTERVAL,
        returned_ns=returned_ns,
    )
    assert [(i.lost, i.outage_ms) for i in result.interruptions] == [(100, 100)]


def test_each_loss_is_an_interruption_of_its_own():
    flow = Flow()
    flow.drop(slice(10, 11), slice(12, 13), slice(2000, 2004))
    result = flow.result()
    assert [(i.lost, i.outage_ms) for i in result.interruptions] == [(1, 1), (1, 1), (4, 4)]
    assert result.longest_gap_ms == 4
    assert result.timestamp_derived_ms == 6


def test_a_loss_before_the_first_arrival_counts():
    flow = Flow()
    flow.drop(slice(0, 50))
    (found,) = flow.result().interruptions
    assert found == Interruption(start_ns=START + DELAY, end_ns=START + DELAY + 50 * MS, lost=50)


def test_a_hold_before_the_first_arrival_counts_however_short_the_rest_of_the_flow():
    flow = Flow(count=1010)
    release = flow.hold(0, 1000 * MS)
    assert flow.result().interruptions == (
        Interruption(start_ns=release - 1000 * MS, end_ns=release, lost=0),
    )


def test_a_long_path_is_no_hold_before_the_first_arrival():
    flow = Flow()
    flow.received_ns = flow.received_ns + 700 * MS
    result = flow.result()
    assert result.interruptions == ()
    assert result.longest_gap_ms == 0


def test_a_loss_after_the_last_arrival_counts():
    flow = Flow()
    flow.drop(slice(2950, 3000))
    (found,) = flow.result().interruptions
    start = START + 2950 * MS + DELAY
    assert found == Interruption(start_ns=start, end_ns=start + 50 * MS, lost=50)


def test_a_flow_of_which_nothing_arrives_is_one_interruption():
    flow = Flow(count=500)
    flow.drop(slice(None))
    result = flow.result()
    assert result.interruptions == (Interruption(start_ns=START, end_ns=START + 500 * MS, lost=500),)
    assert (result.received, result.lost, result.delay) == (0, 500, None)
    assert result.longest_gap_ms == 500


def test_a_flow_that_sent_nothing_says_so():
    nothing = np.array([], dtype=np.int64)
    result = continuity(nothing, nothing, nothing, nothing, interval_ns=INTERVAL)
    assert result.sent_nothing
    assert (result.sent, result.lost, result.interruptions) == (0, 0, ())
    assert not Flow().result().sent_nothing


def test_a_late_probe_is_reordered_and_no_interruption():
    flow = Flow()
    flow.received_ns[700] += 5 * MS + 1
    result = flow.result()
    assert (result.reordered, result.lost, result.interruptions) == (1, 0, ())
    assert result.longest_gap_ms == 1  # nothing arrived when the late probe was due


def test_probes_are_reordered_by_their_number_not_by_how_many_they_pass():
    flow = Flow(count=5)
    flow.received = np.array([0, 3, 1, 4, 2])
    flow.received_ns = np.sort(flow.received_ns)
    assert flow.result().reordered == 2  # 1 after 3, 2 after 4


def test_a_reordered_arrival_after_a_pause_of_the_sender_is_no_interruption():
    flow = Flow(count=6)
    flow.pause_sender(4, 200 * MS)
    flow.received_ns[3] = flow.received_ns[4] + 100
    result = flow.result()
    assert (result.reordered, result.interruptions) == (1, ())


def test_copies_are_counted_and_change_nothing_else():
    flow = Flow()
    flow.received = np.concatenate([flow.received, [5, 5, 2999]])
    flow.received_ns = np.concatenate([flow.received_ns, flow.received_ns[[800, 900, 2999]] + [1, 1, 1]])
    result = flow.result()
    assert (result.received, result.duplicated, result.reordered, result.lost) == (3000, 3, 0, 0)
    assert result.interruptions == ()


def test_the_order_of_reading_does_not_matter_only_the_time():
    flow = Flow()
    flow.drop(slice(100, 110))
    straight = flow.result()
    shuffled = np.random.default_rng(2).permutation(len(flow.received))
    flow.received, flow.received_ns = flow.received[shuffled], flow.received_ns[shuffled]
    assert flow.result() == straight


def test_an_arrival_that_nobody_sent_is_told_apart():
    flow = Flow(count=10)
    flow.received = np.append(flow.received, [10, 77])
    flow.received_ns = np.append(flow.received_ns, flow.received_ns[-1] + np.array([1, 2]))
    result = flow.result()
    assert (result.unexpected, result.received, result.interruptions) == (2, 10, ())


def test_numbers_may_have_holes():
    flow = Flow()
    flow.sent = flow.sent * 3 + 7
    flow.received = flow.received * 3 + 7
    flow.drop(slice(40, 45))
    assert [(i.lost, i.outage_ms) for i in flow.result().interruptions] == [(5, 5)]


def test_a_loss_within_what_a_hold_released_is_told_with_no_length_of_its_own():
    flow = Flow()
    flow.hold(700, 100 * MS)
    flow.drop(slice(750, 760))
    result = flow.result()
    assert [(i.lost, i.outage_ms) for i in result.interruptions] == [(0, 100), (10, 0)]
    assert sum(i.lost for i in result.interruptions) == result.lost


@pytest.mark.parametrize(
    ("sent", "sent_ns", "interval"),
    [([0, 1], [0], 1), ([1, 0], [0, 1], 1), ([0, 0], [0, 1], 1), ([0, 1], [1, 0], 1), ([0], [0], 0)],
)
def test_evidence_that_does_not_fit_together_is_refused(sent, sent_ns, interval):
    nothing = np.array([], dtype=np.int64)
    with pytest.raises(ValueError, match=r"number|order|interval"):
        continuity(np.array(sent), np.array(sent_ns), nothing, nothing, interval_ns=interval)
