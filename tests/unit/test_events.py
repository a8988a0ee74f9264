"""The stream of events: every sink gets each, and a script can wait for one, past or to come."""

import anyio
import pytest

from nodes.errors import NodeError
from nodes.events import event
from orchestrator.events import EventStream

pytestmark = pytest.mark.anyio


def test_every_sink_gets_each_event_in_order():
    stream, one, other = EventStream(), [], []
    stream.add_sink(one.append)
    stream.say("a")
    stream.add_sink(other.append, replay=True)
    stream.say("b", node="n", spi="c0ffee00")
    assert [said.kind for said in one] == ["a", "b"]
    assert one == other == stream.past
    assert one[1].data == {"spi": "c0ffee00"}


def test_a_sink_that_is_removed_gets_no_more():
    stream, got = EventStream(), []
    stream.add_sink(got.append)
    stream.say("a")
    stream.remove_sink(got.append)
    stream.say("b")
    assert [said.kind for said in got] == ["a"]


async def test_an_event_of_the_past_is_found_at_once():
    stream = EventStream()
    stream.say("child-sa.installed", node="peer-a")
    stream.say("child-sa.installed", node="peer-b")
    assert (await stream.wait_for("child-sa.installed", node="peer-b")).node == "peer-b"


async def test_events_before_since_are_passed_over():
    stream = EventStream()
    stream.say("rekeyed", number=1)
    since = len(stream.past)
    stream.say("rekeyed", number=2)
    assert (await stream.wait_for("rekeyed", since=since)).data["number"] == 2


async def test_an_event_to_come_wakes_whoever_waits_for_it_and_nobody_else():
    stream, woken = EventStream(), []

    async def wait(number):
        await stream.wait_for("rekeyed", where=lambda said: said.data["number"] == number)
        woken.append(number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, 1)
        tasks.start_soon(wait, 2)
        await anyio.wait_all_tasks_blocked()
        stream.say("rekeyed", number=2)
        await anyio.wait_all_tasks_blocked()
        assert woken == [2]
        stream.say("rekeyed", number=1)
    assert woken == [2, 1]


async def test_an_event_that_does_not_come_is_an_error_that_names_it_and_what_came_instead():
    stream = EventStream()
    stream.say("node.ready", node="peer-a")
    said = r"no event 'rekeyed' from peer-a within 0\.01 s; the last that came: "
    with pytest.raises(NodeError, match=f"{said}peer-a node.ready$"):
        await stream.wait_for("rekeyed", node="peer-a", timeout=0.01)
    with pytest.raises(NodeError, match=f"{said}none$"):
        await stream.wait_for("rekeyed", node="peer-a", since=1, timeout=0.01)


async def test_two_events_between_two_wakings_are_both_seen():
    stream, got = EventStream(), []

    async def collect():
        since = 0
        while len(got) < 3:
            got.append((await stream.wait_for("a", since=since)).data["number"])
            since = (
                stream.past.index(next(said for said in stream.past if said.data["number"] == got[-1])) + 1
            )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(collect)
        await anyio.wait_all_tasks_blocked()
        stream.publish(event("a", number=1))
        stream.publish(event("a", number=2))
        stream.publish(event("a", number=3))
    assert got == [1, 2, 3]
