import json

import pytest
from verdict_examples import check, flow

from nodes.errors import NegotiationError, UsageError
from orchestrator.evidence import verdict as verdicts
from orchestrator.evidence.folder import Evidence, Setting, evidence, write_whole
from orchestrator.evidence.run_file import CapturedInterface, CaptureFile
from orchestrator.evidence.verdict import CaptureTotals, Outcome

PASS, FAIL, INCONCLUSIVE, ERROR = Outcome

SETTING = Setting(
    scenario="rekey",
    parameters={"ike": 2},
    seed=7,
    runtime="docker",
    dad="nodad",
    command=["hopbed", "run", "rekey", "-p", "ike=2", "--seed", "7", "--out", "my evidence"],
)


def read(folder):
    return verdicts.decode((folder / "verdict.json").read_bytes())


def test_the_folder_is_there_before_anything_starts(tmp_path):
    out = tmp_path / "new" / "evidence"
    growing = Evidence(out, SETTING)
    assert {path.name for path in out.iterdir()} == {"captures", "nodes", "timeline.jsonl", "run.json"}
    assert growing.captures == out / "captures"
    assert growing.nodes == out / "nodes"
    run = json.loads((out / "run.json").read_text())
    assert run["schema"] == "hopbed.run/1"
    assert run["seed"] == 7
    assert run["command_line"] == "hopbed run rekey -p ike=2 --seed 7 --out 'my evidence'"
    assert run["ended"] == ""


def test_a_run_that_got_to_its_end_leaves_its_verdict(tmp_path):
    with evidence(tmp_path, SETTING) as growing:
        growing.dataplane = "kernel"
        growing.checks.append(check(PASS))
        growing.flows.append(flow())
        growing.versions["strongswan"] = "5.9.8"
    verdict = read(tmp_path)
    assert verdict == growing.verdict
    assert verdict.outcome is PASS
    assert (verdict.dataplane, verdict.seed, verdict.parameters) == ("kernel", 7, {"ike": 2})
    assert verdict.versions["strongswan"] == "5.9.8"
    assert {"kernel", "python"} <= set(verdict.versions)
    assert json.loads((tmp_path / "run.json").read_text())["ended"] > ""


def test_every_run_is_checked_for_the_capture_and_the_flows(tmp_path):
    with evidence(tmp_path, SETTING) as growing:
        growing.checks.append(check(PASS))
        growing.flows += [flow(), flow(sent=0, name="silent")]
        interface = CapturedInterface(name="eth0", received=9, dropped=2, marked=True)
        growing.capture_files["bridge"] = CaptureFile(
            file="captures/bridge.pcapng",
            packets=9,
            dropped=2,
            interfaces=(interface,),
            clock_offset_ns=1,
            clock_step_ns=0,
        )
    verdict = read(tmp_path)
    assert verdict.outcome is INCONCLUSIVE
    assert verdict.capture == CaptureTotals(packets=9, dropped=2)
    measured = {c.name: (c.measured, c.outcome) for c in verdict.checks}
    assert measured["the capture dropped no packet"] == (2, INCONCLUSIVE)
    assert measured["every flow sent packets"] == (["silent"], INCONCLUSIVE)
    assert json.loads((tmp_path / "run.json").read_text())["captures"]["bridge"]["dropped"] == 2


def test_a_run_in_which_nothing_was_checked_is_inconclusive(tmp_path):
    with evidence(tmp_path, SETTING):
        pass
    assert read(tmp_path).outcome is INCONCLUSIVE


@pytest.mark.parametrize(
    ("error", "measured"),
    [
        (NegotiationError("no proposal chosen"), "NegotiationError: no proposal chosen"),
        (ExceptionGroup("", [TimeoutError("after 30 s")]), "TimeoutError: after 30 s"),
        (KeyboardInterrupt(), "interrupted (KeyboardInterrupt)"),
        (SystemExit(3), "interrupted (SystemExit)"),
    ],
)
def test_a_run_that_ended_early_leaves_everything_too(tmp_path, error, measured):
    with pytest.raises(type(error)), evidence(tmp_path, SETTING) as growing:
        growing.checks.append(check(FAIL, name="found before"))
        raise error
    verdict = read(tmp_path)
    assert verdict.outcome is ERROR
    assert (verdict.checks[0].name, verdict.checks[0].outcome) == ("found before", FAIL)
    last = verdict.checks[-1]
    assert (last.name, last.measured, last.outcome) == ("the run got to its end", measured, ERROR)
    assert {"junit.xml", "run.json", "timeline.jsonl"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("left", ["verdict.json", "notes.txt", ".hidden"])
def test_a_folder_that_is_not_empty_is_refused(tmp_path, left):
    (tmp_path / left).touch()
    with pytest.raises(UsageError, match="is not empty"):
        Evidence(tmp_path, SETTING)
    assert [path.name for path in tmp_path.iterdir()] == [left]


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot make the evidence folder"):
        Evidence(tmp_path / "file" / "evidence", SETTING)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "verdict.json"
    write_whole(target, b"old")
    with pytest.raises(TypeError):
        write_whole(target, "text is not octets")
    assert target.read_bytes() == b"old"
    write_whole(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["verdict.json"]
    assert target.read_bytes() == b"new"
