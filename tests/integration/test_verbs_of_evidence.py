"""The verbs that work on faults and evidence: --fault, ab, replay, fault add."""

import json
import os
import signal
import subprocess

import pytest
from machine import HOPBED, ROOT, hopbed

from orchestrator.evidence.verdict import Outcome, decode

REKEY = ["run", "rekey", "--runtime", "namespaces", "-p", "tcp_rate=0"]


def flows(verdict):
    return {flow.name: flow for flow in verdict.flows}


def test_a_dropped_third_message_costs_stock_ikev1_a_retransmission_timeout(runtime, tmp_path):
    words = [
        "run",
        "rekey",
        "--runtime",
        runtime,
        "-p",
        "tcp_rate=0",
        "-p",
        "ike=1",
        "-p",
        "count=1",
        "--json",
    ]
    rule = "drop quick-mode 3 from INITIATOR"
    verdict = decode(hopbed(*words, "--fault", rule, "--out", str(tmp_path / "e"), check=0).stdout.encode())
    flow = flows(verdict)["udp-a-b"]
    (interruption,) = [one for one in flow.interruptions if one.lost > 100]
    # charon's first retransmission comes after 4.0 s, its second after 11.2 s; a busy sender leaves slots out
    assert 1000 <= interruption.lost <= 4000
    assert interruption.event is not None
    assert interruption.event.startswith("fault.applied")
    assert flows(verdict)["udp-b-a"].lost < 100


@pytest.mark.alone
def test_a_delayed_third_message_costs_stock_ikev1_the_delay(tmp_path):
    rule = "delay quick-mode 3 from INITIATOR by 500ms"
    words = [*REKEY, "-p", "ike=1", "-p", "count=1", "--json", "--fault", rule]
    verdict = decode(hopbed(*words, "--out", str(tmp_path / "e"), check=0).stdout.encode())
    assert 100 <= flows(verdict)["udp-a-b"].lost <= 1000


def test_a_dropped_answer_costs_ikev2_nothing(tmp_path):
    words = [*REKEY, "-p", "ike=2", "-p", "count=1", "--json", "--fault", "drop create-child-sa 2"]
    verdict = decode(hopbed(*words, "--out", str(tmp_path / "e"), check=0).stdout.encode())
    assert {flow.lost for flow in verdict.flows} == {0}


def test_a_fault_that_matched_nothing_makes_the_verdict_inconclusive(tmp_path):
    words = [*REKEY, "-p", "count=1", "--json", "--fault", "drop quick-mode 3", "-p", "ike=2"]
    verdict = decode(hopbed(*words, "--out", str(tmp_path / "e"), check=1).stdout.encode())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert [check.measured for check in verdict.checks if check.name.startswith("fault:")] == [
        "matched 0 times"
    ]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (["drop quik-mode 3"], "no such exchange"),
        (["drop quick-mode 3 from nobody"], "nobody"),
        (["drop quick-mode 3 always", "delay quick-mode 3 by 1s"], "delay quick-mode 3 by 1s"),
    ],
)
def test_a_fault_that_is_none_is_refused_before_anything_starts(rules, said, tmp_path):
    words = [word for rule in rules for word in ("--fault", rule)]
    done = hopbed(*REKEY, *words, "--out", str(tmp_path / "e"), check=2)
    assert said in done.stderr
    assert not (tmp_path / "e").exists()


def test_a_beside_b_in_one_run(tmp_path):
    out = tmp_path / "ab"
    words = ["ab", "tunnel", "--vary", "ike=1,2", "--repeat", "2", "-p", "duration=0.2", "-p", "tcp_rate=0"]
    done = hopbed(*words, "--runtime", "namespaces", "--json", "--out", str(out), check=0)
    comparison = json.loads(done.stdout)
    assert comparison == json.loads((out / "comparison.json").read_text())
    assert comparison["sides"] == ["1", "2"]
    assert comparison["runs"] == {"1": ["ike-1-1", "ike-1-2"], "2": ["ike-2-1", "ike-2-2"]}
    assert {outcome for those in comparison["outcomes"].values() for outcome in those} == {"pass"}
    lost = next(figure for figure in comparison["figures"] if figure["name"] == "lost on udp-a-b")
    assert lost["values"] == {"1": [0, 0], "2": [0, 0]}
    started = [
        json.loads((out / folder / "run.json").read_text())["started"]
        for folder in ("ike-1-1", "ike-2-1", "ike-2-2", "ike-1-2")
    ]
    assert started == sorted(started)
    assert (out / "report.html").exists()


@pytest.mark.parametrize("vary", ["ike", "ike=1", "ike=1,1", "ike=1,", "=1,2", "ike=1,3", "nothing=1,2"])
def test_sides_that_cannot_be_compared_are_refused(vary, tmp_path):
    done = hopbed("ab", "tunnel", "--vary", vary, "--out", str(tmp_path / "ab"), check=2)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ab").exists()


def test_evidence_replays_from_its_folder_alone(tmp_path):
    compose = tmp_path / "compose.yaml"
    compose.write_text((ROOT / "compose.yaml").read_text())
    words = ["-p", "ike=1", "-p", "count=1", "--fault", "duplicate quick-mode 1", "--seed", "5"]
    hopbed(*REKEY, *words, "-f", str(compose), "--out", str(tmp_path / "one"), check=0)
    compose.unlink()
    hopbed("replay", str(tmp_path / "one"), "--out", str(tmp_path / "other"), check=0)
    one, other = (decode((tmp_path / name / "verdict.json").read_bytes()) for name in ("one", "other"))
    assert (one.parameters, one.seed, one.runtime) == (other.parameters, other.seed, other.runtime)
    names = [check.name for check in other.checks]
    assert "fault: duplicate quick-mode 1" in names


def test_evidence_of_a_later_schema_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"schema": "hopbed.run/2"}')
    for verb in ("replay", "report"):
        done = hopbed(verb, str(tmp_path), check=2)
        assert "a run of schema 'hopbed.run/2'; this Hopbed reads 'hopbed.run/1'" in done.stderr


def test_what_is_no_evidence_is_refused(tmp_path):
    for verb in ("replay", "report"):
        assert "is no evidence folder" in hopbed(verb, str(tmp_path), check=2).stderr


def test_a_report_is_made_again(tmp_path):
    out = tmp_path / "e"
    hopbed("run", "tunnel", "-p", "duration=0.2", "--runtime", "namespaces", "--out", str(out), check=0)
    first = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    hopbed("report", str(out), check=0)
    assert (out / "report.html").read_bytes() == first


def wait_until_in_force(process):
    said = []
    for line in process.stderr:
        said.append(line)
        if "in force" in line:
            return
    pytest.fail(f"it ended with {process.wait()}: {''.join(said)}")


def interrupt(process):
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 130, rest


def test_a_fault_is_put_in_force_by_hand(runtime):
    run_id = json.loads(hopbed("up", "--runtime", runtime, "--json", "peer-a", "peer-b", check=0).stdout)[
        "run"
    ]
    try:
        line = [*HOPBED, "fault", "add", "drop ike-sa-init 1 from peer-a", "--run", run_id]
        process = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
        wait_until_in_force(process)
        interrupt(process)
    finally:
        hopbed("down", "--run", run_id, check=0)


def test_a_kernel_without_netem_is_told_before_anything_starts_and_one_with_it_impairs(tmp_path):
    found = json.loads(hopbed("doctor", "--json", check=0).stdout)["findings"]
    netem = next(finding for finding in found if finding["name"] == "netem")
    words = ["run", "tunnel", "--runtime", "namespaces", "-p", "tcp_rate=0", "-p", "duration=2"]
    done = hopbed(*words, "--impair", "peer-a loss=20%", "--out", str(tmp_path / "e"))
    if netem["present"]:
        verdict = decode((tmp_path / "e" / "verdict.json").read_bytes())
        assert verdict.outcome is Outcome.FAIL
        assert flows(verdict)["udp-a-b"].lost > 0
        assert flows(verdict)["udp-b-a"].lost == 0
    else:
        assert done.returncode == 3
        assert "modprobe sch_netem" in done.stderr
        assert not (tmp_path / "e").exists()


def test_a_link_is_taken_down_by_hand_and_comes_up_with_the_end_of_the_command(runtime):
    up = ["up", "--runtime", runtime, "--json", "terminal-a", "host"]
    run_id = json.loads(hopbed(*up, check=0).stdout)["run"]
    ping = ["exec", "--run", run_id, "terminal-a", "--", "ping", "-6", "-c", "1", "-i", "0.2"]
    try:
        hopbed(*ping, "-w", "10", "host", check=0)
        line = [*HOPBED, "impair", "terminal-a", "down", "--run", run_id]
        process = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
        wait_until_in_force(process)
        assert hopbed(*ping, "-W", "1", "-w", "1", "host").returncode == 1
        interrupt(process)
        hopbed(*ping, "-w", "20", "host", check=0)
    finally:
        hopbed("down", "--run", run_id, check=0)
