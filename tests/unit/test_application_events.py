"""The pace of a download that is held open, and what is read from ping."""

import itertools

from nodes.traffic.download_server import sent_after
from orchestrator.applications.ping import answered, under_way


def test_a_download_comes_ever_closer_to_its_end_and_does_not_reach_it():
    sent = [sent_after(elapsed, octets=400_000_000, seconds=15) for elapsed in range(0, 10_000, 5)]
    assert sent == sorted(sent)
    assert sent[0] == 0
    assert sent[-1] == 400_000_000 - 1


def test_a_download_begins_at_the_rate_of_its_time():
    assert sent_after(0.01, octets=1_000_000, seconds=10) in range(998, 1001)


def test_a_download_flows_for_many_times_its_time():
    sent = [sent_after(elapsed / 10, octets=20_000_000, seconds=4.4) for elapsed in range(350)]
    assert all(later > earlier for earlier, later in itertools.pairwise(sent))


def test_numbers_of_echo_requests_that_begin_again_are_counted_on():
    said = [b"65534", b"65535", b"0", b"2", b"1"]
    assert answered([b"%d" % number for number in range(1, 65534)] + said) == set(range(1, 65539))


def test_only_what_the_longest_round_trip_covers_may_be_unanswered_at_the_end():
    assert under_way(0.2, 0.01) == 1
    assert under_way(41.0, 0.01) == 5
