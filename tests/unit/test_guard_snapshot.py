"""The file by which a restarted guard takes up what is inactive."""

import json

import pytest

from nodes.abnormality.machine import Record, Side
from nodes.peer.guard import snapshot

RECORDS = [Record(partner="fd00::a", side=Side.SENDER, until_ns=123, reason="psk", times=2)]


def test_what_is_saved_is_taken_up(tmp_path):
    snapshot.save(tmp_path / "s", RECORDS)
    assert snapshot.load(tmp_path / "s") == RECORDS
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


def test_what_was_saved_before_the_machine_was_booted_is_not(tmp_path):
    snapshot.save(tmp_path / "s", RECORDS)
    saved = json.loads((tmp_path / "s").read_text())
    (tmp_path / "s").write_text(json.dumps(saved | {"boot": "another"}))
    assert snapshot.load(tmp_path / "s") == []


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"boot": 1}', b"[]"])
def test_a_file_that_is_none_of_ours_is_left_alone(tmp_path, content):
    (tmp_path / "s").write_bytes(content)
    assert snapshot.load(tmp_path / "s") == []


def test_a_file_that_is_not_there_is_nothing(tmp_path):
    assert snapshot.load(tmp_path / "s") == []
