"""An interruption is put down to the event that is nearest to its beginning."""

from nodes.events import event
from orchestrator.continuity.attribution import BEFORE_NS, cause_of
from orchestrator.continuity.result import Interruption

START = 10_000_000_000
INTERRUPTION = Interruption(start_ns=START, end_ns=START + 50_000_000, lost=25)


def at(kind, offset_ns):
    return event(kind, node="peer-a", time_ns=START + offset_ns)


def test_the_last_event_before_it_is_its_cause():
    earlier, nearer = at("child-sa.installed", -5_000_000), at("child-sa.rekeyed", -1_000_000)
    assert cause_of(INTERRUPTION, [nearer, earlier]) is nearer


def test_an_event_within_it_is_its_cause_where_none_came_before():
    first, second = at("child-sa.rekeyed", 1_000_000), at("child-sa.deleted", 2_000_000)
    assert cause_of(INTERRUPTION, [second, first]) is first


def test_an_event_long_before_is_no_cause():
    assert cause_of(INTERRUPTION, [at("child-sa.rekeyed", -BEFORE_NS - 1)]) is None


def test_an_event_after_it_is_no_cause():
    assert cause_of(INTERRUPTION, [at("child-sa.rekeyed", 50_000_001)]) is None


def test_what_cannot_interrupt_is_no_cause():
    assert (
        cause_of(INTERRUPTION, [at("flow.started", -1), at("check", -1), at("capture.started", -1)]) is None
    )
