"""Verdicts, and parts of them, to test with."""

from orchestrator.evidence.verdict import CaptureTotals, Check, FlowVerdict, Interruption, Outcome, Verdict

WHOLE = CaptureTotals(packets=100, dropped=0)


def check(outcome, name="a check"):
    return Check(name=name, expected=0, measured=1, outcome=outcome)


def flow(sent=10, **changes):
    values = dict.fromkeys(("received", "lost", "duplicated", "reordered"), 0)
    values |= {"name": "a-b", "source": "a", "destination": "b", "transport": "udp", "longest_gap_ms": 2.5}
    return FlowVerdict(sent=sent, **(values | changes))


def some_verdict(**changes):
    times = {"delay_p50_ms": 0.25, "delay_p99_ms": 0.5, "delay_max_ms": 1.5}
    times |= {"loss_derived_ms": 4000.0, "timestamp_derived_ms": 3999.5}
    interruptions = (Interruption(start_ms=1.5, end_ms=4001.0, lost=2000, event="qm3"),)
    values = {
        "scenario": "rekey",
        "parameters": {"ike": 2, "pfs": True},
        "seed": 7,
        "runtime": "namespaces",
        "dataplane": "userspace",
        "dad": "nodad",
        "outcome": Outcome.PASS,
        "checks": (check(Outcome.PASS),),
        "flows": (flow(interruptions=interruptions, **times),),
        "capture": WHOLE,
        "versions": {"kernel": "Linux 6.1"},
    }
    return Verdict(**(values | changes))
