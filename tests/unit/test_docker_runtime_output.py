"""A container's output: frames, lines, events, and what a node's end means."""

import os
import struct
from itertools import pairwise

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import errors
from nodes.events import event
from nodes.program import failed_event
from orchestrator.runtimes.docker.output import FrameSplitter, Output

pytestmark = pytest.mark.anyio

STDOUT, STDERR = 1, 2


def frame(stream, payload):
    return struct.pack(">BxxxI", stream, len(payload)) + payload


def line(said):
    return msgspec.json.encode(said) + b"\n"


@given(
    st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=50))),
    st.lists(st.integers(min_value=0, max_value=400)),
)
def test_frames_are_found_however_the_stream_is_cut(frames, cuts):
    stream = b"".join(frame(*one) for one in frames)
    ends = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    splitter = FrameSplitter()
    found = [one for a, b in pairwise(ends) for one in splitter.feed(stream[a:b])]
    assert found == frames


class Said:
    """An output that has said ``frames`` to its end, and what it published."""

    def __init__(self, tmp_path, has_agent=True):
        self.events = []
        self.log = tmp_path / "agent.log"
        self.output = Output("node", has_agent=has_agent, log=self.log, publish=self.events.append)

    async def say(self, *frames, status=None):
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.write(writer, b"".join(frame(*one) for one in frames))
        os.close(writer)
        await self.output.follow(reader)
        os.close(reader)
        if status is not None:
            self.output.end(status)

    @property
    def kinds(self):
        return [said.kind for said in self.events]


@pytest.fixture
def said(tmp_path):
    return Said(tmp_path)


async def test_a_node_is_ready_when_its_agent_says_so(said):
    await said.say((STDOUT, line(event("node.up", node="node")) + line(event("ready", node="node"))))
    await said.output.wait_ready()
    assert said.kinds == ["node.up", "node.ready"]


async def test_a_plain_host_is_ready_when_it_is_up(tmp_path):
    said = Said(tmp_path, has_agent=False)
    await said.say((STDOUT, line(event("node.up", node="node"))))
    await said.output.wait_ready()
    assert said.kinds == ["node.up", "node.ready"]


async def test_a_node_that_is_only_up_is_waited_for(said):
    await said.say((STDOUT, line(event("node.up", node="node"))))
    with anyio.move_on_after(0) as scope:
        await said.output.wait_ready()
    assert scope.cancelled_caught


async def test_the_error_that_an_agent_died_with_is_raised_as_its_type_with_the_nodes_name(said):
    await said.say((STDOUT, line(failed_event(errors.DaemonError("charon did not start")))), status=4)
    with pytest.raises(errors.DaemonError, match=r"^node: charon did not start$"):
        await said.output.wait_ready()


async def test_a_node_that_just_ends_is_an_error_with_its_last_words(said):
    await said.say((STDERR, b"Traceback: oh\n"), (STDOUT, b"not an event\n"), status=1)
    with pytest.raises(
        errors.NodeError, match="node: ended with status 1 before it was ready: Traceback: oh"
    ):
        await said.output.wait_ready()


async def test_a_failure_after_readiness_is_an_event(said):
    await said.say((STDOUT, line(event("ready"))), (STDOUT, line(failed_event(errors.DaemonError("died")))))
    assert said.kinds == ["node.ready", "node.failed"]
    assert said.events[1].data == {"type": "DaemonError", "text": "died"}


async def test_other_events_of_the_agent_go_on_the_stream(said):
    await said.say((STDOUT, line(event("charon.started", node="node", pid=7))))
    assert [(one.kind, one.data) for one in said.events] == [("charon.started", {"pid": 7})]


async def test_everything_is_logged_in_its_order(said):
    await said.say((STDERR, b"one\n"), (STDOUT, b"two\n"), (STDERR, b"three\n"))
    assert said.log.read_bytes() == b"one\ntwo\nthree\n"
