"""The pure parts of the probe flows: the packet, the schedule, the clocks, the orders, the counting."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodes import errors
from nodes.traffic.clock import ClockReading, MonotonicConversion
from nodes.traffic.orders import OrderReader
from nodes.traffic.probe import MAX_SIZE, MIN_SIZE, ProbeFormat
from nodes.traffic.receiver import Arrivals
from nodes.traffic.schedule import CATCH_UP_NS, Schedule

MS = 1_000_000
flow_ids = st.integers(1, 2**64 - 1)


# The probe


@given(flow_ids, st.integers(MIN_SIZE, 300), st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1))
def test_a_probe_has_its_flows_size_and_brings_its_number_and_send_time(flow_id, size, sequence, sent_ns):
    probes = ProbeFormat(flow_id, size)
    octets = probes.encode(sequence, sent_ns)
    assert len(octets) == size
    assert probes.decode(octets) == (sequence, sent_ns)


def test_a_probe_is_laid_out_in_network_order():
    octets = ProbeFormat(0x0102030405060708, 34).encode(0x11, 0x22)
    assert octets.hex() == "01020304050607080000000000000011000000000000002201020304050607080102"


def test_the_largest_probe_is_its_size():
    assert len(ProbeFormat(1, MAX_SIZE).encode(0, 0)) == MAX_SIZE


@given(flow_ids, flow_ids)
def test_a_probe_of_another_flow_is_none(ours, other):
    octets = ProbeFormat(other, 24).encode(5, 6)
    assert (ProbeFormat(ours, 24).decode(octets) is None) == (ours != other)


@pytest.mark.parametrize("changed", [slice(0, 1), slice(7, 8), slice(24, 25), slice(99, 100)])
def test_a_probe_whose_id_or_filling_was_changed_is_none(changed):
    octets = bytearray(ProbeFormat(77, 100).encode(5, 6))
    octets[changed] = bytes([octets[changed][0] ^ 1])
    assert ProbeFormat(77, 100).decode(bytes(octets)) is None


@pytest.mark.parametrize("size", [0, 23, 99, 101])
def test_a_probe_of_another_size_is_none(size):
    assert ProbeFormat(77, 100).decode(ProbeFormat(77, 101).encode(5, 6)[:size]) is None


# The schedule


def test_a_probe_is_due_at_its_multiple_of_the_interval_however_late_others_were():
    schedule = Schedule(1000, 0)
    for slot in range(5000):
        assert schedule.due_ns == slot * MS
        schedule.skip_missed(schedule.due_ns + (slot * 137_911) % MS)
        schedule.sent()
    assert schedule.skipped == 0


def test_a_rate_that_does_not_divide_the_second_does_not_drift():
    schedule = Schedule(300, 0)
    for _ in range(300 * 60):
        schedule.sent()
    assert schedule.due_ns == 60_000 * MS


def test_a_pause_leaves_its_slots_out_and_no_burst_follows():
    schedule = Schedule(1000, 0)
    for _ in range(100):
        schedule.sent()
    schedule.skip_missed(300 * MS + 400_000)
    assert (schedule.due_ns, schedule.skipped) == (300 * MS, 200)
    schedule.sent()
    assert schedule.due_ns == 301 * MS


@pytest.mark.parametrize(("rate", "catches_up"), [(10, 1), (1000, 1), (10_000, 10)])
def test_a_sender_catches_up_a_millisecond_or_one_probe_and_no_more(rate, catches_up):
    interval = 1_000_000_000 // rate
    assert catches_up == max(CATCH_UP_NS // interval, 1)
    within, beyond = Schedule(rate, 0), Schedule(rate, 0)
    within.skip_missed(catches_up * interval)
    beyond.skip_missed(catches_up * interval + 1)
    assert (within.skipped, beyond.skipped) == (0, catches_up)


@given(st.integers(10, 10_000), st.lists(st.integers(0, 50 * MS), max_size=50))
@example(rate=420, latenesses=[0, 0, 0, 50 * MS])  # its interval is no whole number of ns
def test_every_slot_is_sent_or_skipped_and_a_probe_is_never_early(rate, latenesses):
    schedule = Schedule(rate, 0)
    longest_interval = -(-1_000_000_000 // rate)  # slots are due at whole ns
    now = 0
    for sent, lateness in enumerate(latenesses, start=1):
        now = max(now, schedule.due_ns) + lateness
        schedule.skip_missed(now)
        assert now - max(CATCH_UP_NS, longest_interval) <= schedule.due_ns <= now
        schedule.sent()
        assert schedule.due_ns == (sent + schedule.skipped) * 1_000_000_000 // rate


# The clocks


def reading(monotonic: int, offset: int, *, width: int = 200) -> ClockReading:
    return ClockReading(monotonic - width // 2, monotonic + offset, monotonic + width - width // 2)


def test_a_receive_time_is_converted_by_the_clocks_difference():
    conversion = MonotonicConversion(reading(1000 * MS, 7 * MS))
    conversion.end_batch(reading(1010 * MS, 7 * MS))
    assert conversion.monotonic(1012 * MS) == 1005 * MS
    assert conversion.steps == 0


def test_a_reading_that_was_interrupted_does_not_spoil_the_conversion():
    conversion = MonotonicConversion(reading(1000 * MS, 7 * MS))
    conversion.end_batch(ClockReading(1010 * MS, 1017 * MS, 1030 * MS))  # stopped for 20 ms
    assert conversion.monotonic(1012 * MS) == pytest.approx(1005 * MS, abs=200)


@pytest.mark.parametrize("step", [-3600_000 * MS, -500 * MS, 500 * MS, 3600_000 * MS])
def test_a_step_of_the_wall_clock_within_a_batch_is_seen_and_each_packet_gets_its_own_side(step):
    conversion = MonotonicConversion(reading(1000 * MS, 0))
    conversion.end_batch(reading(1010 * MS, 0))
    conversion.end_batch(reading(1020 * MS, step))
    assert conversion.steps == 1
    assert conversion.monotonic(1012 * MS) == pytest.approx(1012 * MS, abs=200)  # before the step
    assert conversion.monotonic(1018 * MS + step) == pytest.approx(1018 * MS, abs=200)  # after it
    conversion.end_batch(reading(1030 * MS, step))
    assert conversion.steps == 1
    assert conversion.monotonic(1025 * MS + step) == pytest.approx(1025 * MS, abs=200)


def test_no_packet_arrives_after_it_was_read():
    conversion = MonotonicConversion(reading(1000 * MS, 0))
    conversion.end_batch(reading(1010 * MS, 0))
    assert conversion.monotonic(1500 * MS) <= 1010 * MS + 100


@given(
    st.integers(-(10**18), 10**18),
    st.lists(st.tuples(st.integers(1, 10**9), st.integers(2, 10**8)), min_size=1, max_size=30),
)
def test_undisturbed_clocks_convert_exactly_and_never_look_stepped(offset, readings):
    conversion = MonotonicConversion(reading(10**12, offset))
    now = 10**12
    for passed, width in readings:
        now += passed + width
        conversion.end_batch(reading(now, offset, width=width))
        assert conversion.monotonic(now - width - 50 + offset) == pytest.approx(now - width - 50, abs=102)
    assert conversion.steps == 0


# Orders


@pytest.fixture
def orders():
    read, write = os.pipe()
    reader = OrderReader(read)
    reader.write = lambda octets: os.write(write, octets)
    reader.close = lambda: os.close(write)
    yield reader
    os.close(read)


def test_an_order_says_how_many_probes_to_expect(orders):
    orders.write(b'{"expected": 12}\n')
    orders.read()
    assert (orders.expected, orders.ended) == (12, False)
    orders.close()


def test_an_order_may_come_in_pieces(orders):
    for piece in (b'{"exp', b'ected": 3', b"}\n"):
        assert orders.expected is None
        orders.write(piece)
        orders.read()
    assert orders.expected == 3
    orders.close()


def test_the_end_of_the_input_is_the_order_to_end(orders):
    orders.close()
    orders.read()
    assert orders.ended


@pytest.mark.parametrize(
    "line",
    [
        *(b"\n", b"12\n", b'{"expected": "all"}\n', b'{"expect": 1}\n', b'{"expected":\n'),
        *(b"{}\n", b'{"begin": false}\n', b'{"begin": true, "expected": 1}\n'),
    ],
)
def test_a_line_that_is_no_order_is_refused(orders, line):
    orders.write(line)
    with pytest.raises(errors.ProtocolError, match="not an order"):
        orders.read()
    orders.close()


# Counting


def test_arrivals_are_counted_and_told_from_copies_and_strays():
    probes = ProbeFormat(5, 50)
    arrivals = Arrivals(probes)
    for sequence in (0, 2, 1, 2, 70_000):
        assert arrivals.take(probes.encode(sequence, 9), 33) == (sequence, 9, 33)
    assert arrivals.take(b"x" * 50, 33) is None
    assert arrivals.take(ProbeFormat(6, 50).encode(3, 9), 33) is None
    assert (arrivals.received, arrivals.unique, arrivals.strays) == (5, 4, 2)
