"""The two moments of each negotiated SA, put together from what the nodes tell and what a capture saw."""

import dataclasses

import pytest

from nodes.events import Event
from orchestrator.evidence.verdict import Outcome
from orchestrator.report.quick_modes import QuickMode, Sighting
from orchestrator.report.sa_lines import OnTheWire
from orchestrator.scenarios import sa_evidence
from orchestrator.scenarios.footprint import Footprint
from orchestrator.scenarios.sa_moments import Moments, Negotiated, moments, negotiated

MS = 1_000_000
INITIATOR, RESPONDER = "peer-a", "endpoint-b"


def told(ms, node, kind, **data):
    return Event(time_ns=ms * MS, node=node, kind=kind, data=data)


def sa(spi_in, spi_out, number=1):
    return {"unique_id": number, "spi_in": spi_in, "spi_out": spi_out}


def esp(first_ms):
    ns = first_ms * MS
    return OnTheWire(packets=9, first=1, first_ns=ns, last=9, last_ns=ns + MS)


def exchange(first, second=None, third=None):
    seen = [None if ms is None else Sighting(1, round(ms * MS)) for ms in (second, third)]
    return QuickMode(message_id=1, first=Sighting(1, round(first * MS)), second=seen[0], third=seen[1])


def pair(**changes):
    known = {"there": "aa", "back": "bb", "initiator_ns": 12 * MS, "installed_ns": 10 * MS}
    return Negotiated(**(known | {"effective_ns": 14 * MS, "by": "esp"} | changes))


def early(**changes):
    """An early negotiation whose third message was lost: ESP made the SA effective."""
    known = {"sa": pair(), "exchange": exchange(9, 11), "there": esp(13), "back": esp(15)}
    return Moments(**(known | changes))


def stock(**changes):
    """A stock negotiation whose third message came by 4 s late."""
    late = pair(installed_ns=4013 * MS, effective_ns=4013 * MS, by="")
    return early(**({"sa": late, "exchange": exchange(9, 11, 4012)} | changes))


def test_the_pairs_are_those_of_which_the_initiator_tells_by_whichever_event():
    events = [
        told(1, INITIATOR, "child-sa.installed", **sa("b1", "a1")),
        told(2, RESPONDER, "child-sa.installed", **sa("a1", "b1")),
        told(5, RESPONDER, "child-sa.installed", **sa("a2", "b2", 2)),
        told(6, INITIATOR, "child-sa.rekeyed", old=sa("b1", "a1"), new=sa("b2", "a2", 2)),
        told(7, RESPONDER, "child-sa.effective", **sa("a2", "b2", 2), reason="esp"),
        told(7, RESPONDER, "child-sa.rekeyed", old=sa("a1", "b1"), new=sa("a2", "b2", 2)),
    ]
    first, second = negotiated(events, INITIATOR, RESPONDER)
    assert (first.there, first.back, first.installed_ns, first.effective_ns) == ("a1", "b1", 2 * MS, None)
    assert dataclasses.astuple(second) == ("a2", "b2", 6 * MS, 5 * MS, 7 * MS, "esp")


def test_a_daemon_without_the_second_moment_has_both_in_one():
    events = [
        told(1, INITIATOR, "child-sa.rekeyed", old=sa("b1", "a1"), new=sa("b2", "a2")),
        told(3, RESPONDER, "child-sa.rekeyed", old=sa("a1", "b1"), new=sa("a2", "b2")),
    ]
    (only,) = negotiated(events, INITIATOR, RESPONDER)
    assert (only.installed_ns, only.effective_ns, only.by) == (3 * MS, 3 * MS, "")


def test_a_pair_belongs_to_the_last_quick_mode_that_was_answered_before_it():
    exchanges = [exchange(1, 2, 3), exchange(9, 11), exchange(20, 22, 23), exchange(8)]
    (found,) = moments([pair()], exchanges, {"aa": esp(13)})
    assert found.exchange is exchanges[1]
    assert (found.there, found.back) == (esp(13), None)


def test_early_is_installed_before_the_second_message_leaves():
    assert early().installed_before_second
    assert not early(sa=pair(installed_ns=12 * MS)).installed_before_second
    assert sa_evidence.installed([early()], "early").outcome is Outcome.PASS
    assert sa_evidence.installed([stock()], "early").outcome is Outcome.FAIL


@pytest.mark.parametrize("responder", ["stock", "strongswan"])
def test_stock_is_installed_after_the_third_message_came_by(responder):
    assert sa_evidence.installed([stock()], responder).outcome is Outcome.PASS
    assert sa_evidence.installed([early()], responder).outcome is Outcome.FAIL


def test_an_sa_is_effective_by_esp_only_if_esp_was_there_by_then():
    assert early().effective_for_a_reason
    assert not early(there=esp(15)).effective_for_a_reason
    assert not early(there=None).effective_for_a_reason
    check = sa_evidence.effective([early(), early(there=None)], "early", esp_trigger=True)
    assert check.outcome is Outcome.FAIL
    assert check.measured["confirmed by packets"] == "1 of 2"


def test_an_sa_is_effective_by_the_third_message_only_if_that_was_there_by_then():
    by_third = pair(by="qm3")
    assert early(sa=by_third, exchange=exchange(9, 11, 13)).effective_for_a_reason
    assert not early(sa=by_third, exchange=exchange(9, 11, 15)).effective_for_a_reason
    assert not early(sa=by_third).effective_for_a_reason


def test_without_the_trigger_esp_is_no_reason():
    check = sa_evidence.effective([early()], "early", esp_trigger=False)
    assert check.outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("third", "delay_ms", "third_at", "outcome"),
    [
        ("pass", None, 11.2, Outcome.PASS),
        ("pass", None, 4012, Outcome.INCONCLUSIVE),
        ("pass", None, None, Outcome.INCONCLUSIVE),
        ("drop", None, None, Outcome.PASS),
        ("drop", None, 4012, Outcome.PASS),
        ("drop", None, 11.2, Outcome.INCONCLUSIVE),
        ("delay:500ms", 500.0, 511.1, Outcome.PASS),
        ("delay:500ms", 500.0, 400, Outcome.INCONCLUSIVE),
        ("delay:500ms", 500.0, None, Outcome.INCONCLUSIVE),
    ],
)
def test_the_third_message_must_be_on_the_wire_as_it_was_asked_for(third, delay_ms, third_at, outcome):
    seen = [early(exchange=exchange(9, 11, third_at))]
    assert sa_evidence.third_message(seen, third, delay_ms).outcome is outcome


def test_nothing_seen_is_nothing_proved():
    assert sa_evidence.third_message([], "pass", None).outcome is Outcome.INCONCLUSIVE
    assert sa_evidence.installed([], "early").outcome is Outcome.FAIL
    assert sa_evidence.figures([]) == []


def test_a_lost_third_message_proves_nothing_without_esp_before_it():
    assert sa_evidence.esp_before_third([early()], "drop").outcome is Outcome.PASS
    assert sa_evidence.esp_before_third([early(there=None)], "drop").outcome is Outcome.INCONCLUSIVE
    on_time = early(exchange=exchange(9, 11, 12))
    check = sa_evidence.esp_before_third([on_time], "pass")
    assert (check.measured, check.outcome) == (0, Outcome.PASS)


def test_more_sas_at_the_end_than_at_the_beginning_fail():
    before, after = ({RESPONDER: Footprint(child_sas=count, memory={})} for count in (1, 2))
    assert [check.outcome for check in sa_evidence.sas_flat(before, after)] == [Outcome.FAIL]
    assert [check.outcome for check in sa_evidence.sas_flat(before, before)] == [Outcome.PASS]


@pytest.mark.parametrize(
    ("grown_mib", "judged", "outcome"),
    [(1, True, Outcome.PASS), (9, True, Outcome.FAIL), (9, False, Outcome.PASS)],
)
def test_memory_that_grows_fails_where_the_run_was_long_enough_to_tell(grown_mib, judged, outcome):
    mib = 1024 * 1024
    before, after = (
        {RESPONDER: Footprint(child_sas=1, memory={"agent": size})}
        for size in (30 * mib, (30 + grown_mib) * mib)
    )
    (check,) = sa_evidence.memory_flat(before, after, judged=judged)
    assert check.outcome is outcome
