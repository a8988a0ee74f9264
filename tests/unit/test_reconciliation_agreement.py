"""Each combination of what the applications say and what the captures saw, by its name."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.continuity import ReceivedLog, SentLog
from orchestrator.reconciliation.agreement import TIME_TOLERANCE_NS, Receiver, agreement
from orchestrator.reconciliation.sightings import Sightings

MS = 1_000_000
DELAY = 50_000


def sent(count=4, refused=()):
    sequence = np.arange(count)
    errno = np.zeros(count, np.uint32)
    errno[list(refused)] = 101
    return SentLog(
        flow_id=1,
        interval_ns=MS,
        sequence=sequence,
        sent_ns=sequence * MS,
        returned_ns=sequence * MS,
        errno=errno,
    )


def received(*numbers, late_ns=0):
    sequence = np.array(numbers, np.int64)
    return ReceivedLog(
        flow_id=1,
        sequence=sequence,
        received_ns=sequence * MS + DELAY + late_ns,
        sent_ns=sequence * MS,
    )


def seen(*numbers, interface=0, fragment=(), unknown=()):
    position = np.array(numbers, np.int64)
    return Sightings(
        position=position,
        time_ns=position * MS + DELAY,
        number=position + 100,
        interface=np.full(len(position), interface),
        whole=~np.isin(position, fragment),
        changed=np.empty(0, np.int64),
        unknown=np.array(unknown, np.int64),
    )


def both(one, other):
    columns = ("position", "time_ns", "number", "interface", "whole", "changed", "unknown")
    return Sightings(**{name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in columns})


def compare(sender, receiver, leaving, arriving, **more):
    return agreement(sender, receiver, leaving, arriving, Receiver(**more))


def contradictions(*arguments, **more):
    return {one.what: one.probes for one in compare(*arguments, **more).contradictions}


ALL = (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("sender", "receiver", "leaving", "arriving", "account"),
    [
        (sent(), received(*ALL), seen(*ALL), seen(*ALL), {"delivered": 4}),
        (sent(), received(0, 1), seen(*ALL), seen(0, 1), {"delivered": 2, "lost on the way": 2}),
        (sent(), received(0, 1), seen(0, 1), seen(0, 1), {"delivered": 2, "lost in the source": 2}),
        (
            sent(refused=[3]),
            received(0, 1, 2),
            seen(0, 1, 2),
            seen(0, 1, 2),
            {"delivered": 3, "refused by the source": 1},
        ),
        (sent(), received(0, 1), None, seen(0, 1), {"delivered": 2, "lost before the destination": 2}),
        (sent(), received(), seen(), seen(), {"lost in the source": 4}),
        (sent(0), received(), seen(), seen(), {}),
    ],
)
def test_what_agrees_is_accounted_for(sender, receiver, leaving, arriving, account):
    found = compare(sender, receiver, leaving, arriving)
    assert found.account == account
    assert found.contradictions == ()


@pytest.mark.parametrize(
    ("sender", "receiver", "leaving", "arriving", "what"),
    [
        (sent(), received(*ALL), seen(*ALL), seen(0, 1, 3), "received, not seen arriving"),
        (sent(), received(0, 1, 3), seen(*ALL), seen(*ALL), "seen arriving, not received"),
        (
            sent(),
            received(*ALL),
            seen(0, 1, 3),
            seen(*ALL),
            "received or seen arriving, not seen leaving",
        ),
        (
            sent(refused=[2]),
            received(0, 1, 3),
            seen(*ALL),
            seen(0, 1, 3),
            "refused by the source, yet seen or received",
        ),
        (
            sent(),
            received(*ALL, 2),
            seen(*ALL),
            seen(*ALL),
            "received more often than seen arriving",
        ),
        (
            sent(),
            received(*ALL),
            seen(*ALL),
            seen(*ALL, 2),
            "seen arriving more often than received",
        ),
        (sent(), received(*ALL), seen(*ALL, unknown=[9]), seen(*ALL), "in no log of the sender, yet seen"),
    ],
)
def test_what_contradicts_is_named(sender, receiver, leaving, arriving, what):
    assert contradictions(sender, receiver, leaving, arriving) == {what: 1}


def test_a_contradiction_names_the_probes_and_their_packets():
    (one,) = compare(sent(), received(0), seen(*ALL), seen(*ALL)).contradictions
    assert (one.sequence, one.leaving, one.arriving) == ((1, 2, 3), (101, 102, 103), (101, 102, 103))


def test_what_the_receivers_socket_had_no_room_for_is_explained():
    found = compare(sent(), received(0, 1), seen(*ALL), seen(*ALL), dropped=2)
    assert found.contradictions == ()
    assert found.account == {"delivered": 2, "not received, for a known reason": 2}


def test_more_missing_than_the_socket_dropped_is_a_contradiction():
    assert contradictions(sent(), received(0, 1), seen(*ALL), seen(*ALL), dropped=1) == {
        "seen arriving, not received": 2
    }


def test_what_came_after_the_receiver_may_have_ended_is_explained():
    ended_ns = 3 * MS
    found = compare(sent(), received(0, 1, 2), seen(*ALL), seen(*ALL), ended_ns=ended_ns)
    assert found.contradictions == ()
    assert contradictions(sent(), received(0, 1, 3), seen(*ALL), seen(*ALL), ended_ns=ended_ns) == {
        "seen arriving, not received": 1
    }


def test_a_first_fragment_is_no_proof_that_the_datagram_came():
    found = compare(sent(), received(0, 1, 2), seen(*ALL), seen(*ALL, fragment=[3]))
    assert found.contradictions == ()


def test_a_packet_that_two_interfaces_of_a_node_saw_came_once():
    twice = both(seen(*ALL, interface=0), seen(*ALL, interface=1))
    assert compare(sent(), received(*ALL), twice, twice).contradictions == ()


def test_copies_that_came_and_were_received_agree():
    found = compare(sent(), received(*ALL, 2, 2), seen(*ALL), seen(*ALL, 2, 2))
    assert found.contradictions == ()


def test_a_receive_time_that_is_not_the_packets_is_a_contradiction():
    late = received(*ALL, late_ns=TIME_TOLERANCE_NS + 1)
    assert contradictions(sent(), late, seen(*ALL), seen(*ALL)) == {"received at another time than seen": 4}
    within = received(*ALL, late_ns=TIME_TOLERANCE_NS)
    assert compare(sent(), within, seen(*ALL), seen(*ALL)).time_difference_ns == TIME_TOLERANCE_NS


def test_a_stream_may_be_read_late_but_never_before_it_came():
    stream = seen(*ALL)
    stream = dataclasses.replace(stream, stamp_ns=stream.time_ns)
    late = received(*ALL, late_ns=50 * MS)
    assert contradictions(sent(), late, stream, stream) == {}
    early = received(*ALL, late_ns=-50 * MS)
    assert contradictions(sent(), early, stream, stream) == {"received at another time than seen": 4}


def test_times_are_not_compared_where_a_clock_was_set():
    late = received(*ALL, late_ns=50 * MS)
    found = agreement(sent(), late, seen(*ALL), seen(*ALL), Receiver(), compare_times=False)
    assert (found.contradictions, found.time_difference_ns) == ((), None)


def test_what_was_offered_and_not_seen_is_counted_for_each_node():
    found = compare(sent(), received(0), seen(0, 1, 2), seen(0))
    assert (found.unseen_leaving, found.unseen_arriving) == (1, 3)


@given(st.lists(st.tuples(*[st.booleans()] * 4), min_size=1, max_size=30), st.booleans())
def test_every_probe_is_accounted_for_or_in_a_contradiction(fates, blind):
    def those(column):
        return [number for number, fate in enumerate(fates) if fate[column]]

    refused = [number for number in range(len(fates)) if number not in those(0)]
    found = compare(
        sent(len(fates), refused),
        received(*those(3)),
        None if blind else seen(*those(1)),
        seen(*those(2)),
    )
    accounted = sum(found.account.values())
    contradicted = sum(one.probes for one in found.contradictions)
    assert accounted <= len(fates) <= accounted + contradicted
    consistent = {(True, True, True, True), (True, True, False, False), (True, False, False, False)}
    consistent |= {(False, False, False, False)}
    if not blind:
        assert (not found.contradictions) == (set(fates) <= consistent)
