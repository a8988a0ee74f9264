"""An evidence folder is read back, and what is missing, cut short or of another time is said."""

import json

import pytest
from pcapng_building import interface, section
from report_examples import EVENTS, FRAMES, OFFSET, ORIGIN, capture_bytes, write_evidence

from nodes.errors import UsageError
from orchestrator.evidence.read import read_evidence, read_run
from orchestrator.evidence.verdict import Outcome


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_whole_folder_is_read_without_a_gap(tmp_path):
    evidence = read_evidence(write_evidence(tmp_path / "e"))
    assert evidence.gaps == ()
    assert evidence.verdict.outcome is Outcome.FAIL
    assert evidence.run.origin_ns == ORIGIN
    assert list(evidence.events) == EVENTS
    assert (evidence.capture.place, len(evidence.capture.packets)) == ("bridge", len(FRAMES))
    assert evidence.capture.offset_ns == OFFSET
    logs = evidence.flows["udp-a-b"]
    assert (len(logs.sent.sequence), len(logs.received.sequence)) == (1000, 900)
    assert (logs.source, logs.destination) == ("peer-a", "peer-b")
    assert not evidence.keys


def test_a_run_that_was_killed_has_no_verdict_and_says_so(tmp_path):
    folder = write_evidence(tmp_path / "e", verdict_too=False)
    change(folder / "run.json", ended="", captures={})
    evidence = read_evidence(folder)
    assert evidence.verdict is None
    assert any("killed" in gap for gap in evidence.gaps)
    assert any("may be off by a second" in gap for gap in evidence.gaps)
    assert len(evidence.capture.packets) == len(FRAMES)


def test_a_truncated_capture_shows_what_is_there(tmp_path):
    whole = capture_bytes()
    evidence = read_evidence(write_evidence(tmp_path / "e", capture=whole[:-20]))
    assert len(evidence.capture.packets) == len(FRAMES) - 1
    (gap,) = evidence.gaps
    assert "captures/bridge.pcapng is cut short at octet" in gap


def test_a_capture_that_is_gone_is_a_gap(tmp_path):
    folder = write_evidence(tmp_path / "e")
    (folder / "captures" / "bridge.pcapng").unlink()
    evidence = read_evidence(folder)
    assert evidence.capture is None
    assert evidence.gaps == (
        "captures/bridge.pcapng is missing",
        "there is no capture: no packet is known",
    )


def test_a_log_that_is_gone_is_a_gap(tmp_path):
    folder = write_evidence(tmp_path / "e")
    (folder / "nodes" / "peer-b" / "udp-a-b.received").unlink()
    assert read_evidence(folder).gaps == ("the log of what arrived of udp-a-b is missing",)


def test_a_missing_timeline_is_a_gap(tmp_path):
    folder = write_evidence(tmp_path / "e")
    (folder / "timeline.jsonl").unlink()
    assert read_evidence(folder).gaps == ("there is no timeline.jsonl: no event is known",)


@pytest.mark.parametrize("file", ["run.json", "verdict.json"])
def test_a_newer_schema_is_refused_by_name(tmp_path, file):
    folder = write_evidence(tmp_path / "e")
    kind = file.partition(".")[0]
    change(folder / file, schema=f"hopbed.{kind}/2")
    with pytest.raises(UsageError, match=rf"{file}: a {kind} of schema 'hopbed.{kind}/2'; this Hopbed reads"):
        read_evidence(folder)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no json", "run.json: not a run"),
        (b'{"schema": "other/1"}', "its schema is 'other/1'"),
        (b'{"schema": "hopbed.run/1"}', "run.json: not a run: Object missing required field"),
    ],
)
def test_a_file_that_is_no_run_is_refused(tmp_path, content, told):
    folder = write_evidence(tmp_path / "e")
    (folder / "run.json").write_bytes(content)
    with pytest.raises(UsageError, match=told):
        read_run(folder)


def test_a_folder_without_a_run_is_no_evidence(tmp_path):
    with pytest.raises(UsageError, match="is no evidence folder: it has no run.json"):
        read_evidence(tmp_path)
    with pytest.raises(UsageError, match="there is no such folder"):
        read_evidence(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"\xd4\xc3\xb2\xa1" + bytes(20), b"GIF89a" + bytes(40)])
def test_a_foreign_capture_is_refused(tmp_path, content):
    with pytest.raises(UsageError, match=r"bridge\.pcapng"):
        read_evidence(write_evidence(tmp_path / "e", capture=content))


def test_an_empty_capture_is_a_gap(tmp_path):
    evidence = read_evidence(write_evidence(tmp_path / "e", capture=b""))
    assert "captures/bridge.pcapng is empty" in evidence.gaps


def test_a_capture_without_packets_is_read(tmp_path):
    evidence = read_evidence(write_evidence(tmp_path / "e", capture=section() + interface(name="bridge")))
    assert len(evidence.capture.packets) == 0


def test_a_capture_outside_the_folder_is_refused(tmp_path):
    folder = write_evidence(tmp_path / "e")
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace("captures/bridge.pcapng", "../../etc/passwd"))
    with pytest.raises(UsageError, match="is not in the folder"):
        read_evidence(folder)
