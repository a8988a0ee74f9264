"""An interruption is put down to what was done to the service, or else to the SA change that is nearest."""

import pytest

from nodes.events import event
from orchestrator.continuity.attribution import BEFORE_NS, FAULT_BEFORE_NS, LATE_NS, cause_of, describe
from orchestrator.continuity.result import Interruption

START = 20_000_000_000
MS = 1_000_000
INTERRUPTION = Interruption(start_ns=START, end_ns=START + 4_000 * MS, lost=2000)
SHORT = Interruption(start_ns=START, end_ns=START + 2 * MS, lost=1)


def at(kind, offset_ns, **data):
    return event(kind, node="peer-a", time_ns=START + offset_ns, **data)


def test_the_event_that_is_nearest_to_the_beginning_is_its_cause():
    earlier, nearer = at("child-sa.installed", -5 * MS), at("child-sa.rekeyed", -1 * MS)
    assert cause_of(INTERRUPTION, [nearer, earlier]) is nearer


def test_an_sa_change_that_a_daemon_says_late_is_nearer_than_the_rekey_before():
    before, late = at("child-sa.rekeyed", -250 * MS), at("child-sa.rekeyed", 3 * MS)
    assert cause_of(SHORT, [before, late]) is late


def test_an_event_that_came_too_late_is_no_cause():
    assert cause_of(INTERRUPTION, [at("child-sa.rekeyed", LATE_NS + 1)]) is None


def test_the_sa_change_that_ends_an_interruption_is_no_cause_of_it():
    assert cause_of(INTERRUPTION, [at("child-sa.installed", 4_000 * MS)]) is None


def test_an_sa_change_long_before_is_no_cause():
    assert cause_of(INTERRUPTION, [at("child-sa.rekeyed", -BEFORE_NS - 1)]) is None


@pytest.mark.parametrize("fault_ms", [-900, -1, 1, 90])
def test_a_fault_beats_a_nearer_sa_change(fault_ms):
    fault = at("fault.applied", fault_ms * MS)
    changes = [at("child-sa.installed", 0), at("child-sa.rekeyed", -1), at("child-sa.rekeyed", 1)]
    assert cause_of(INTERRUPTION, [*changes, fault]) is fault


@pytest.mark.parametrize(
    "kind", ["address.deprecated", "link.down", "charon.died", "node.died", "runtime.died"]
)
def test_what_was_done_to_the_service_beats_what_the_daemons_did_about_it(kind):
    done = at(kind, -20 * MS)
    assert cause_of(INTERRUPTION, [at("ike-sa.deleted", -1 * MS), done]) is done


def test_of_several_faults_the_nearest_to_the_beginning_is_the_cause():
    first, second, third = (at("fault.applied", ms * MS) for ms in (-500, -2, 3_900))
    assert cause_of(INTERRUPTION, [first, second, third]) is second


def test_a_fault_seconds_before_is_the_cause_where_nothing_else_is():
    fault = at("fault.applied", -4_000 * MS)
    assert cause_of(INTERRUPTION, [fault]) is fault
    change = at("child-sa.rekeyed", -1 * MS)
    assert cause_of(INTERRUPTION, [fault, change]) is change
    assert cause_of(INTERRUPTION, [at("fault.applied", -FAULT_BEFORE_NS - 1)]) is None


def test_a_fault_within_an_interruption_prolonged_it():
    first, second = at("fault.applied", 1_000 * MS), at("fault.applied", 2_000 * MS)
    assert cause_of(INTERRUPTION, [second, first]) is first
    assert cause_of(INTERRUPTION, [at("fault.applied", 4_001 * MS)]) is None


@pytest.mark.parametrize("kind", ["flow.started", "check", "capture.started", "fault.added", "fault.removed"])
def test_what_cannot_interrupt_is_no_cause(kind):
    assert cause_of(INTERRUPTION, [at(kind, -1)]) is None


def test_a_cause_is_told_by_kind_and_node_and_a_fault_by_its_rule_too():
    assert describe(at("child-sa.rekeyed", 0)) == "child-sa.rekeyed peer-a"
    assert describe(at("fault.applied", 0, rule="drop quick-mode 3")) == (
        "fault.applied peer-a: drop quick-mode 3"
    )
