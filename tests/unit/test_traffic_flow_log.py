"""A flow's log: what was written is what is read, also after a kill."""

from __future__ import annotations

import stat

import pytest

from nodes import errors
from nodes.traffic.flow_log import FLUSH_NS, HEADER, FlowLog, LogKind
from orchestrator.continuity import read_received, read_sent

FLOW = 2**64 - 3


def test_a_senders_log_is_read_as_it_was_written(tmp_path):
    with FlowLog(tmp_path / "f.sent", LogKind.SENT, flow_id=FLOW, interval_ns=1_000_000) as log:
        log.sent(0, 1000, 6500, 0)
        log.sent(1, 2_000_000, 2_000_900, 101)
    found = read_sent(tmp_path / "f.sent")
    assert (found.flow_id, found.interval_ns) == (FLOW, 1_000_000)
    assert found.sequence.tolist() == [0, 1]
    assert found.sent_ns.tolist() == [1000, 2_000_000]
    assert found.errno.tolist() == [0, 101]


def test_the_time_a_send_took_is_never_read_as_less(tmp_path):
    with FlowLog(tmp_path / "f.sent", LogKind.SENT, flow_id=FLOW, interval_ns=1) as log:
        log.sent(0, 1000, 6500, 0)
        log.sent(1, 7000, 7000 + 2**43, 0)  # 2.4 hours: more than the field holds
    returned_ns = read_sent(tmp_path / "f.sent").returned_ns.tolist()
    assert 6500 <= returned_ns[0] <= 7500
    assert returned_ns[1] == 7000 + 2**32 * 1000


def test_a_receivers_log_is_read_as_it_was_written(tmp_path):
    with FlowLog(tmp_path / "f.received", LogKind.RECEIVED, flow_id=FLOW) as log:
        log.received(7, 3000, 1000)
        log.received(6, 3001, -5)
    found = read_received(tmp_path / "f.received")
    assert found.flow_id == FLOW
    assert found.sequence.tolist() == [7, 6]
    assert found.received_ns.tolist() == [3000, 3001]
    assert found.sent_ns.tolist() == [1000, -5]


def test_a_log_without_records_is_a_log(tmp_path):
    with FlowLog(tmp_path / "f.sent", LogKind.SENT, flow_id=FLOW, interval_ns=1):
        assert len(read_sent(tmp_path / "f.sent").sequence) == 0


def test_records_are_written_out_while_the_flow_runs(tmp_path):
    with FlowLog(tmp_path / "f.sent", LogKind.SENT, flow_id=FLOW, interval_ns=1) as log:
        log.sent(0, log.flush_due_ns - FLUSH_NS, log.flush_due_ns - 1, 0)
        assert len(read_sent(tmp_path / "f.sent").sequence) == 0
        log.sent(1, log.flush_due_ns, log.flush_due_ns, 0)
        assert len(read_sent(tmp_path / "f.sent").sequence) == 2


def test_a_record_that_a_kill_cut_short_is_left_out(tmp_path):
    path = tmp_path / "f.sent"
    with FlowLog(path, LogKind.SENT, flow_id=FLOW, interval_ns=1) as log:
        log.sent(0, 0, 0, 0)
        log.sent(1, 5, 5, 0)
    path.write_bytes(path.read_bytes()[:-1])
    assert read_sent(path).sequence.tolist() == [0]


def test_a_log_is_readable_by_all(tmp_path):
    path = tmp_path / "f.sent"
    with FlowLog(path, LogKind.SENT, flow_id=FLOW, interval_ns=1):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_log_never_replaces_another(tmp_path):
    path = tmp_path / "f.sent"
    path.write_bytes(b"evidence")
    with pytest.raises(errors.FlowError, match=r"f\.sent exists"):
        FlowLog(path, LogKind.SENT, flow_id=FLOW)
    assert path.read_bytes() == b"evidence"


def test_a_log_that_cannot_be_made_is_a_clear_error(tmp_path):
    with pytest.raises(errors.FlowError, match="cannot write the flow's log .*No such file"):
        FlowLog(tmp_path / "no-folder" / "f.sent", LogKind.SENT, flow_id=FLOW)


@pytest.mark.parametrize("content", [b"", b"hopbfl", b"x" * 100])
def test_a_file_that_is_no_log_is_a_clear_error(tmp_path, content):
    path = tmp_path / "f.sent"
    path.write_bytes(content)
    with pytest.raises(errors.FlowError, match="is no log of a flow"):
        read_sent(path)


def test_a_log_of_a_newer_format_is_a_clear_error(tmp_path):
    path = tmp_path / "f.sent"
    path.write_bytes(HEADER.pack(b"hopbflow", 2, 1, 24, 1, 1))
    with pytest.raises(errors.FlowError, match="format 2; this version of Hopbed reads format 1"):
        read_sent(path)


def test_a_log_of_the_other_end_is_a_clear_error(tmp_path):
    path = tmp_path / "f.received"
    FlowLog(path, LogKind.RECEIVED, flow_id=FLOW)
    with pytest.raises(errors.FlowError, match="no log of probes sent"):
        read_sent(path)


def test_a_log_that_is_missing_is_a_clear_error(tmp_path):
    with pytest.raises(errors.FlowError, match="cannot read the flow's log .*No such file"):
        read_received(tmp_path / "f.received")
