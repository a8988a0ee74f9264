import os
import signal
import subprocess
import sys

import pytest

from nodes.errors import UsageError
from nodes.events import Event, event
from orchestrator.evidence.timeline import Timeline, read_timeline


@pytest.fixture
def path(tmp_path):
    return tmp_path / "timeline.jsonl"


def test_every_event_is_a_line_at_once(path):
    timeline = Timeline(path)
    timeline(event("node.up", node="peer-a", time_ns=5))
    assert path.read_bytes() == b'{"time_ns":5,"node":"peer-a","kind":"node.up","data":{}}\n'
    timeline(event("child-sa.rekeyed", node="peer-b", time_ns=6, spi="c0ffee"))
    assert path.read_bytes().count(b"\n") == 2
    timeline.close()


def test_events_are_read_in_the_order_in_which_they_happened(path):
    timeline = Timeline(path)
    late = [
        event("late", time_ns=30),
        event("early", time_ns=10),
        event("same-1", time_ns=20),
        event("same-2", time_ns=20),
    ]
    for heard in late:
        timeline(heard)
    assert [found.kind for found in read_timeline(path)] == ["early", "same-1", "same-2", "late"]


def test_what_is_read_is_what_was_said(path):
    said = Event(
        time_ns=1, node="a", kind="k", data={"text": "line\nbreak ü", "nested": {"n": [1, 2.5, None]}}
    )
    Timeline(path)(said)
    assert read_timeline(path) == [said]


def test_a_timeline_is_never_overwritten(path):
    Timeline(path).close()
    with pytest.raises(FileExistsError):
        Timeline(path)


def test_a_line_that_a_kill_cut_short_is_passed_over(path):
    Timeline(path)(event("whole", time_ns=1))
    with path.open("ab") as file:
        file.write(b'{"time_ns":2,"no')
    assert [found.kind for found in read_timeline(path)] == ["whole"]


@pytest.mark.parametrize("line", [b"nonsense", b"{}", b'{"time_ns":"x","node":"","kind":"k"}', b"\xff\xfe"])
def test_another_line_that_is_no_event_is_an_error_that_names_it(path, line):
    Timeline(path)(event("whole", time_ns=1))
    with path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(UsageError, match=r"timeline.jsonl:2: not an event"):
        read_timeline(path)


def test_a_timeline_that_is_not_there_is_a_clear_error(path):
    with pytest.raises(UsageError, match="No such file"):
        read_timeline(path)


SAYS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from nodes.events import event
from orchestrator.evidence.timeline import Timeline
timeline = Timeline(Path(sys.argv[1]))
for n in range(500):
    timeline(event("n", time_ns=n))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_said_before_a_kill_is_there(path):
    done = subprocess.run([sys.executable, "-c", SAYS_AND_DIES, path], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert [found.time_ns for found in read_timeline(path)] == list(range(500))
