"""The scenario ike-abnormality in short forms: what is measured and judged, and that the verdict can fail.

The handling's own behaviour is specified beside the guard; here it is the scenario that is looked at.
"""

import dataclasses

import pytest

from orchestrator.breaking import breakage
from orchestrator.evidence.timeline import read_timeline
from orchestrator.evidence.verdict import Outcome
from orchestrator.scenarios import catalogue, ike_abnormality, ike_flood
from orchestrator.scenarios import ike_abnormality_figures as figures

pytestmark = [pytest.mark.anyio, pytest.mark.root]

TIMES = {"t1": 2, "t2": 2}


@pytest.fixture
def runtime():
    """The scenario is the same in both runtimes; one test below asks for each."""
    return "namespaces"


def measured(verdict, name):
    (found,) = (check.measured for check in verdict.checks if check.name == name)
    return found


async def break_it(play, **parameters):
    return await play("ike-abnormality", **{"duration": 3, "retry": 0.5} | parameters)


@pytest.mark.parametrize(
    ("kind", "ike"), [("ike-proposal", "1"), ("traffic-selector", "2"), ("certificate-expired", "2")]
)
async def test_stock_repeats_as_often_as_it_is_asked(play, kind, ike):
    verdict = await break_it(play, kind=kind, ike=ike)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert measured(verdict, figures.ATTEMPTS) > 1
    assert measured(verdict, figures.SPACING) > 0
    assert measured(verdict, figures.REPAIR) != "never"


@pytest.mark.parametrize("kind", ["psk", "corrupted-encrypted"])
async def test_stock_goes_on_by_itself_in_an_attempt_that_nobody_can_read(play, kind):
    verdict = await break_it(play, kind=kind, ike="1", duration=6)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert measured(verdict, figures.ATTEMPTS) == 1
    assert measured(verdict, figures.messages_figure("sender")) > 40
    assert measured(verdict, figures.peak_figure("receiver")) >= 1


async def test_a_dead_peer_is_asked_and_says_nothing(play):
    verdict = await break_it(play, kind="dead-peer", repair=False)
    assert measured(verdict, figures.messages_figure("sender")) > 20
    assert measured(verdict, figures.messages_figure("receiver")) == 0


@pytest.mark.parametrize(
    ("kind", "ike"), [("psk", "1"), ("psk", "2"), ("esp-proposal", "1"), ("version", "2")]
)
async def test_handled_the_sender_tries_once_in_its_set_time(play, kind, ike):
    verdict = await break_it(play, kind=kind, ike=ike, handling="on", duration=5, **TIMES)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert 2 <= measured(verdict, figures.ATTEMPTS) <= 3


async def test_handled_charons_own_next_try_waits_too(play, monkeypatch):
    """With ``keyingtries`` 0 it follows in the moment in which charon gives up, too soon for the guard."""
    hasty = {"retransmit_timeout": 0.3, "retransmit_base": 1.0, "retransmit_tries": 2}
    monkeypatch.setattr(ike_abnormality, "SHORT_TIMERS", hasty)
    verdict = await break_it(play, kind="dead-peer", ike="2", handling="on", duration=7, t1=3, t2=3)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert measured(verdict, figures.ATTEMPTS) == 2
    assert measured(verdict, figures.SPACING) > 3.5


async def test_with_activate_the_repair_is_felt_at_once(play):
    verdict = await break_it(play, kind="psk", ike="1", handling="on", t1=60, t2=60, activate=True)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert measured(verdict, figures.REPAIR) < 60


async def test_an_established_tunnel_loses_nothing_beside_what_fails(play):
    verdict = await break_it(play, kind="psk", ike="1", handling="on", established=True, **TIMES)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert {flow.name: flow.lost for flow in verdict.flows} == {"steady-a-b": 0, "steady-b-a": 0}


@pytest.mark.parametrize("ike", ["1", "2"])
async def test_a_good_peer_comes_through_a_flood_that_is_held_back(play, ike):
    verdict = await break_it(play, kind="third-party-flood", ike=ike, handling="on", flood_count=4000)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert measured(verdict, ike_flood.FORGED) == 4000
    assert measured(verdict, ike_flood.NEGOTIATIONS) >= 3
    assert measured(verdict, figures.peak_figure("receiver")) < ike_flood.MOST_HALF_OPEN


async def test_stock_ikev1_takes_every_forged_message_for_a_negotiation(play):
    verdict = await break_it(play, kind="third-party-flood", ike="1", flood_count=2000, flood_rate=1000)
    assert measured(verdict, figures.peak_figure("receiver")) > 1500
    assert measured(verdict, ike_flood.ANSWERS) > 1500


@pytest.mark.parametrize(("sender", "receiver"), [("hopbed", "strongswan"), ("strongswan", "hopbed")])
async def test_the_endpoint_can_be_either_end(play, sender, receiver):
    verdict = await break_it(play, kind="psk", ike="1", sender=sender, receiver=receiver)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert measured(verdict, figures.messages_figure("sender")) > 20
    assert isinstance(measured(verdict, figures.REPAIR), float)


@pytest.mark.parametrize(("sender", "receiver"), [("hopbed", "strongswan"), ("strongswan", "hopbed")])
async def test_the_endpoint_handles_it_by_itself(play, sender, receiver):
    ends = {"sender": sender, "receiver": receiver}
    verdict = await break_it(play, kind="psk", ike="1", handling="on", duration=5, **TIMES, **ends)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert measured(verdict, figures.ATTEMPTS) >= 2


async def test_a_sender_that_comes_through_fails_the_run(play, monkeypatch):
    """The verdict can fail: here nothing is wrong."""
    monkeypatch.setattr(breakage, "misconfigured", lambda connection, _kind, _plan: connection)
    verdict = await break_it(play, kind="psk", duration=1)
    assert verdict.outcome is Outcome.FAIL
    (failed,) = (check for check in verdict.checks if check.outcome is Outcome.FAIL)
    assert failed.name == figures.NEVER_UP


async def test_what_is_not_handled_although_it_was_asked_for_fails_the_run(play, monkeypatch):
    """Here both peers are told nothing of it."""
    settings = dict.fromkeys(ike_abnormality.ENDS, ike_abnormality.SHORT_TIMERS)
    stock = dataclasses.replace(ike_abnormality.SCENARIO, settings=lambda _: settings)
    monkeypatch.setitem(catalogue.SCENARIOS, "ike-abnormality", stock)
    verdict = await break_it(play, kind="ike-proposal", handling="on", **TIMES)
    failed = {check.name for check in verdict.checks if check.outcome is Outcome.FAIL}
    assert {figures.ATTEMPTS, figures.SPACING} <= failed


async def test_t2_below_t1_is_in_the_evidence(play, tmp_path):
    await break_it(play, kind="psk", handling="on", t1=3, t2=1, duration=1, repair=False)
    events = read_timeline(tmp_path / "ike-abnormality" / "timeline.jsonl")
    (warning,) = (event for event in events if event.kind == "run.warning")
    assert "t2 (1 s) is shorter than t1 (3 s)" in warning.data["text"]


@pytest.mark.parametrize("runtime", ["namespaces", pytest.param("docker", marks=pytest.mark.docker)])
async def test_it_runs_in_each_runtime(play, runtime):
    verdict = await break_it(play, kind="psk", ike="1", handling="on", **TIMES)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert verdict.runtime == runtime
