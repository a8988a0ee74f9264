"""The state machine of method 2: active, inactive until a time, and why it changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.abnormality.machine import MOST_MENDED, NS_PER_S, Machine, Reason, Side
from nodes.abnormality.timing import Timing

A, B = "fd00::a", "fd00::b"
S, R = Side.SENDER, Side.RECEIVER
T0 = 1_000 * NS_PER_S


def at(seconds):
    return T0 + round(seconds * NS_PER_S)


@pytest.fixture
def machine():
    made = Machine(Timing(t1=10, t2=20))
    made.know([A, B])
    return made


def test_an_abnormal_negotiation_makes_its_receiver_inactive_for_t1_and_its_sender_for_t2(machine):
    (receiver,) = machine.abnormal(A, R, "psk", T0)
    (sender,) = machine.abnormal(A, S, "psk", T0)
    assert (receiver.active, receiver.reason, receiver.for_ns, receiver.until_ns) == (
        False,
        "psk",
        10 * NS_PER_S,
        at(10),
    )
    assert (sender.active, sender.for_ns) == (False, 20 * NS_PER_S)


def test_it_is_inactive_until_the_time_and_not_longer(machine):
    machine.abnormal(A, S, "psk", T0)
    assert machine.is_inactive(A, S, at(19.999))
    assert not machine.is_inactive(A, S, at(20))


def test_when_the_time_is_over_it_is_active_and_says_so_once(machine):
    machine.abnormal(A, S, "psk", T0)
    assert machine.next_due_ns == at(20)
    assert machine.due(at(19.9)) == []
    (change,) = machine.due(at(20))
    assert (change.partner, change.side, change.active, change.reason) == (A, S, True, Reason.EXPIRED)
    assert machine.due(at(21)) == []
    assert machine.next_due_ns is None


def test_sides_and_partners_are_independent(machine):
    machine.abnormal(A, S, "psk", T0)
    assert not machine.is_inactive(A, R, T0)
    assert not machine.is_inactive(B, S, T0)


def test_what_is_abnormal_while_inactive_changes_nothing(machine):
    machine.abnormal(A, S, "psk", T0)
    assert machine.abnormal(A, S, "version", at(5)) == []
    assert machine.next_due_ns == at(20)


@pytest.mark.parametrize("reason", [Reason.CONFIGURED, Reason.OPERATOR])
def test_a_changed_configuration_or_the_operators_word_makes_both_sides_active_at_once(machine, reason):
    machine.abnormal(A, S, "psk", T0)
    machine.abnormal(A, R, "psk", T0)
    machine.abnormal(B, R, "psk", T0)
    changes = machine.activate(A, reason, at(1))
    assert {(one.side, one.active, one.reason) for one in changes} == {(S, True, reason), (R, True, reason)}
    assert machine.is_inactive(B, R, at(1))


def test_the_operator_can_make_all_active(machine):
    machine.abnormal(A, S, "psk", T0)
    machine.abnormal(B, R, "psk", T0)
    assert {one.partner for one in machine.activate(None, Reason.OPERATOR, at(1))} == {A, B}
    assert machine.next_due_ns is None


def test_repetition_grows_the_time_and_a_success_begins_anew():
    machine = Machine(Timing(t1=10, t2=10, growth=2, ceiling=35))
    now, times = T0, []
    for _ in range(4):
        (change,) = machine.abnormal(A, S, "psk", now)
        times.append((change.for_ns // NS_PER_S, change.times))
        now = change.until_ns
        machine.due(now)
    assert times == [(10, 1), (20, 2), (35, 3), (35, 4)]
    machine.succeeded(A, now)
    (change,) = machine.abnormal(A, S, "psk", now)
    assert (change.for_ns // NS_PER_S, change.times) == (10, 1)


def test_a_success_makes_active_what_was_inactive(machine):
    machine.abnormal(A, S, "psk", T0)
    (change,) = machine.succeeded(A, at(1))
    assert (change.active, change.reason) == (True, Reason.SUCCEEDED)


def test_a_sender_that_is_mended_frees_the_receiver_but_not_for_ever():
    machine = Machine(Timing(t1=10, t2=10, growth=2))
    machine.know([A])
    grown = []
    for number in range(MOST_MENDED + 1):
        (change,) = machine.abnormal(A, R, "psk", at(number))
        grown.append(change.for_ns // NS_PER_S)
        freed = machine.mended(A, at(number))
        assert bool(freed) == (number < MOST_MENDED)
        assert all((one.side, one.reason) == (R, Reason.MENDED) for one in freed)
    assert grown == [10, 20, 40, 80]


def test_who_is_not_inactive_cannot_be_mended(machine):
    assert machine.mended(A, T0) == []
    machine.abnormal(A, S, "psk", T0)
    assert machine.mended(A, T0) == []


def test_a_partner_can_have_times_of_its_own(machine):
    machine.configure(Timing(t1=1, t2=2), A)
    assert machine.abnormal(A, S, "psk", T0)[0].for_ns == 2 * NS_PER_S
    assert machine.abnormal(B, S, "psk", T0)[0].for_ns == 20 * NS_PER_S
    machine.know([B])
    assert machine.timing(A) == Timing(t1=10, t2=20)


def test_times_that_are_set_anew_are_for_the_next_time(machine):
    machine.abnormal(A, S, "psk", T0)
    machine.configure(Timing(t1=1, t2=2))
    assert machine.next_due_ns == at(20)
    machine.due(at(20))
    assert machine.abnormal(A, S, "psk", at(20))[0].for_ns == 2 * NS_PER_S


def test_a_restarted_one_takes_up_what_is_still_inactive(machine):
    machine.abnormal(A, S, "psk", T0)
    machine.abnormal(B, R, "psk", T0)
    after = Machine(Timing())
    after.know([A, B])
    (change,) = after.restore(machine.snapshot(), at(15))
    assert (change.partner, change.side, change.active, change.reason) == (A, S, False, Reason.RESTORED)
    assert change.for_ns == 5 * NS_PER_S
    assert after.is_inactive(A, S, at(19))
    assert not after.is_inactive(B, R, at(15))
    assert after.abnormal(B, R, "psk", at(15))[0].times == 2


def test_a_time_that_nobody_can_have_set_is_not_taken_up(machine):
    machine.abnormal(A, S, "psk", T0)
    saved = machine.snapshot()
    saved[0].until_ns = at(10 * 86_400)
    after = Machine(Timing())
    assert after.restore(saved, T0) == []
    assert after.next_due_ns is None


def test_a_flood_from_forged_sources_is_remembered_up_to_a_bound_and_never_costs_a_partner_its_place():
    machine = Machine(Timing(t1=10, t2=20), most_strangers=100)
    machine.know([A])
    machine.abnormal(A, R, "psk", T0)
    crowded_out = 0
    for number in range(20_000):
        changes = machine.abnormal(f"fd00:bad::{number:x}", R, "unknown-peer", T0)
        crowded_out += sum(one.reason == Reason.CROWDED_OUT for one in changes)
    assert len(list(machine.records())) == 101
    assert crowded_out == 20_000 - 100
    assert machine.is_inactive(A, R, at(1))
    assert machine.is_inactive("fd00:bad::4e1f", R, at(1))  # the last one


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["abnormal", "due", "activate", "succeeded", "mended"]),
        st.sampled_from([f"fd00::{n:x}" for n in range(8)]),
        st.sampled_from([S, R]),
        st.floats(0, 30),
    ),
    max_size=60,
)


@given(EVENTS)
def test_every_change_is_a_change_and_what_it_says_is_so(events):
    machine = Machine(Timing(t1=10, t2=20, growth=2, ceiling=60), most_strangers=3)
    machine.know(["fd00::0", "fd00::1"])
    state, now = {}, T0
    for verb, partner, side, wait in events:
        now += round(wait * NS_PER_S)
        match verb:
            case "abnormal":
                # what expired is told before something new is judged, as the guard does
                changes = [*machine.due(now), *machine.abnormal(partner, side, "psk", now)]
            case "due":
                changes = machine.due(now)
            case "activate":
                changes = machine.activate(partner, Reason.OPERATOR, now)
            case "succeeded":
                changes = machine.succeeded(partner, now)
            case "mended":
                changes = machine.mended(partner, now)
        for change in changes:
            key = (change.partner, change.side)
            assert state.get(key, True) != change.active
            state[key] = change.active
            assert change.reason
            assert change.for_ns <= 60 * NS_PER_S
        strangers = [one for one in machine.records() if one.partner not in machine.known]
        assert len(strangers) <= 3
    for (partner, side), active in state.items():
        if active:
            assert not machine.is_inactive(partner, side, now)
