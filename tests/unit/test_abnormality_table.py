"""The page of every abnormality: what stands in its cells, and which runs it is made of."""

import dataclasses

import pytest
from verdict_examples import some_verdict

from orchestrator.abnormality_table import page, runs
from orchestrator.breaking import Kind
from orchestrator.evidence.verdict import Check, Outcome
from orchestrator.scenarios import ike_abnormality_figures as figures
from orchestrator.scenarios.ike_abnormality import SCENARIO

PAIRS = {
    **runs.kind_pairs("30", "60"),
    **{("activate", *key): pair for key, pair in runs.activated("30").items()},
    **runs.long_pairs("60", "180"),
    **{("flood", key): pair for key, pair in runs.floods("30").items()},
    **{("steady", *key): pair for key, pair in runs.steady_pairs("30").items()},
}


def verdict(duration=60, outcome=Outcome.PASS, **measured):
    checks = [Check.of(name, expected=0, measured=value, passed=True) for name, value in measured.items()]
    if outcome is Outcome.FAIL:
        checks.append(Check.of("attempts", expected=1, measured=9, passed=False))
    return some_verdict(parameters={"duration": duration}, checks=tuple(checks), outcome=outcome)


def figure_values(figure, sender, receiver):
    return {figure("sender"): sender, figure("receiver"): receiver}


def rows(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_every_kind_is_run_in_both_versions():
    pairs = runs.kind_pairs("30", "60")
    assert set(pairs) == {(kind.value, ike) for kind in Kind for ike in "12"} - {
        (Kind.THIRD_PARTY_FLOOD.value, ike) for ike in "12"
    }
    assert all(pair.sides == ("off", "on") for pair in pairs.values())


@pytest.mark.parametrize("pair", PAIRS.values(), ids=lambda pair: pair.name)
def test_the_scenario_takes_the_parameters_of_every_pair(pair):
    for side in pair.sides:
        SCENARIO.validate({**pair.given, "handling": side})


def test_no_two_pairs_share_a_folder():
    names = [pair.name for pair in PAIRS.values()]
    assert len(names) == len(set(names))


def test_both_ends_are_added_up_and_attempts_counted_by_the_minute():
    off = verdict(30, **figure_values(figures.messages_figure, 60.5, 39.5), **{figures.ATTEMPTS: 4})
    on = verdict(30, **figure_values(figures.messages_figure, 6.0, 4.0), **{figures.ATTEMPTS: 1})
    head, _, row = rows(page.kinds_table({("psk", "1"): {"off": off, "on": on}}))
    found = dict(zip(head, row, strict=False))
    assert found["kind, IKE version"] == "psk, 1"
    assert row[1:3] == ["100", "10"]
    at = head.index("attempts/min off")
    assert row[at : at + 2] == ["8", "2"]
    assert row[-1] == "pass"


def test_what_failed_is_named_and_what_is_missing_is_a_dash():
    sides = {"off": None, "on": verdict(outcome=Outcome.FAIL)}
    _, _, row = rows(page.kinds_table({("psk", "1"): sides}))
    assert row[1:3] == [page.NOTHING, page.NOTHING]
    assert row[-1] == "fail: attempts"


def test_the_ratio_of_messages_stands_beside_them():
    sides = {
        "off": verdict(**figure_values(figures.messages_figure, 60, 60)),
        "on": verdict(**figure_values(figures.messages_figure, 5, 5)),
    }
    _, _, row = rows(page.long_table({"short": sides}))
    assert row[:4] == ["short", "120", "10", "12.0"]


def test_the_page_has_its_date_its_command_and_every_table():
    setting = page.Setting(
        date="2026-01-02 03:04 UTC",
        command="make abnormality-table",
        machine="2 processors",
        seconds=1200,
        jobs=8,
        times="T1 = T2 = 30 s",
        long_times="T1 = T2 = 60 s",
    )
    text = page.whole(setting, kinds={}, soon={}, long={}, floods={}, steady={})
    assert "Made by `make abnormality-table` on 2026-01-02 03:04 UTC, in 20 minutes, by 2 processors" in text
    assert text.count("|---|") == 5
    again = page.whole(
        dataclasses.replace(setting, seconds=None), kinds={}, soon={}, long={}, floods={}, steady={}
    )
    assert "minutes" not in again
