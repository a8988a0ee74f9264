"""What the faults of a run mean for its verdict."""

from orchestrator.evidence.verdict import CaptureTotals, Outcome, overall
from orchestrator.faults import FaultTotal, checks_of


def outcome(totals, died):
    return overall(checks_of(totals, died), [], CaptureTotals())


def test_a_run_without_faults_has_no_checks_of_them():
    assert checks_of([], {}) == []


def test_a_fault_that_matched_passes():
    totals = [FaultTotal("drop quick-mode 3", matched=2)]
    check, lasted = checks_of(totals, {})
    assert (check.name, check.measured) == ("fault: drop quick-mode 3", "matched 2 times")
    assert (lasted.outcome, outcome(totals, {})) == (Outcome.PASS, Outcome.PASS)


def test_a_fault_that_never_matched_makes_the_verdict_inconclusive():
    totals = [FaultTotal("drop quick-mode 3", matched=1), FaultTotal("drop ike-auth 1")]
    assert checks_of(totals, {})[1].measured == "matched 0 times"
    assert outcome(totals, {}) is Outcome.INCONCLUSIVE


def test_an_engine_that_died_makes_the_verdict_inconclusive_and_says_where():
    totals = [FaultTotal("drop quick-mode 3", matched=1)]
    lasted = checks_of(totals, {"peer-a": "ended with status -9"})[-1]
    assert lasted.measured == {"peer-a": "died: ended with status -9"}
    assert outcome(totals, {"peer-a": "ended with status -9"}) is Outcome.INCONCLUSIVE
