"""Our VICI transport against a scripted daemon on a real Unix socket."""

import struct
from contextlib import asynccontextmanager

import anyio
import pytest
from vici.protocol import Message, Packet

from nodes import errors
from nodes.peer.vici_client import CommandFailed, ViciClient

pytestmark = pytest.mark.anyio

CONFIRM = bytes([Packet.EVENT_CONFIRM])
UNKNOWN_EVENT = bytes([Packet.EVENT_UNKNOWN])


def framed(packet):
    return struct.pack("!I", len(packet)) + packet


def answer(**message):
    return bytes([Packet.CMD_RESPONSE]) + Message.serialize(message)


def raised(name, **message):
    return bytes([Packet.EVENT, len(name)]) + name.encode() + Message.serialize(message)


@asynccontextmanager
async def daemon(path, *replies):
    """A daemon that sends the next of ``replies``, octets each, for every packet that it gets, then ends.

    The context's value is a client of it.
    """

    async def serve(stream):
        async with stream:
            for reply in replies:
                await stream.receive()
                await stream.send(reply)

    listener = await anyio.create_unix_listener(path)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield ViciClient(path)
        tasks.cancel_scope.cancel()


async def test_a_command_is_answered_with_text(tmp_path):
    reply = framed(answer(version="5.9.8", plugins=["vici", "openssl"]))
    async with daemon(tmp_path / "s", reply) as vici:
        assert await vici.request("version") == {"version": "5.9.8", "plugins": ["vici", "openssl"]}


async def test_a_command_that_fails_raises_the_daemons_words(tmp_path):
    reply = framed(answer(success="no", errmsg="no such config"))
    async with daemon(tmp_path / "s", reply) as vici:
        with pytest.raises(CommandFailed, match="no such config"):
            await vici.request("initiate", {"child": "x"})


async def test_a_streamed_command_gives_its_items_in_order(tmp_path):
    stream = framed(raised("list-sa", n="1")) + framed(raised("list-sa", n="2")) + framed(answer())
    async with daemon(tmp_path / "s", framed(CONFIRM), stream) as vici:
        assert await vici.items("list-sas", "list-sa") == [{"n": "1"}, {"n": "2"}]


async def test_events_arrive_by_name_after_all_are_subscribed(tmp_path):
    replies = framed(CONFIRM), framed(CONFIRM) + framed(raised("b", n="1")) + framed(raised("a", n="2"))
    async with daemon(tmp_path / "s", *replies) as vici, vici.listen(["a", "b"]) as events:
        first, second = await anext(events), await anext(events)
    assert [(one.name, one.message) for one in (first, second)] == [("b", {"n": "1"}), ("a", {"n": "2"})]
    assert first.time_ns <= second.time_ns


async def test_an_event_that_an_older_daemon_lacks_may_be_optional(tmp_path):
    replies = framed(CONFIRM), framed(UNKNOWN_EVENT) + framed(raised("a"))
    async with daemon(tmp_path / "s", *replies) as vici, vici.listen(["a"], optional=["alert"]) as events:
        assert (await anext(events)).name == "a"


async def test_an_event_that_is_needed_and_unknown_is_an_error(tmp_path):
    async with daemon(tmp_path / "s", framed(UNKNOWN_EVENT)) as vici:
        with pytest.raises(errors.ProtocolError, match="no VICI event 'a'"):
            async with vici.listen(["a"]):
                pass


async def test_a_daemon_that_ends_in_the_middle_of_a_packet_is_a_daemon_error(tmp_path):
    async with daemon(tmp_path / "s", framed(answer(version="5"))[:-3]) as vici:
        with pytest.raises(errors.DaemonError, match="charon ended the VICI connection"):
            await vici.request("version")


async def test_a_daemon_that_is_not_there_is_a_daemon_error(tmp_path):
    with pytest.raises(errors.DaemonError, match="charon does not answer at .*nobody"):
        await ViciClient(tmp_path / "nobody").request("version")


@pytest.mark.parametrize(
    "garbage",
    [
        struct.pack("!I", 0xFFFFFFFF),
        framed(b""),
        framed(bytes([Packet.CMD_RESPONSE, 3, 200])),
        framed(b"\x63"),
    ],
    ids=["too long", "empty", "cut short", "unknown type"],
)
async def test_what_is_no_vici_is_a_protocol_error(tmp_path, garbage):
    async with daemon(tmp_path / "s", garbage) as vici:
        with pytest.raises(errors.ProtocolError, match="VICI"):
            await vici.request("version")


async def test_a_command_that_is_cancelled_closes_its_connection(tmp_path):
    closed, asked = anyio.Event(), anyio.Event()

    async def serve(stream):
        async with stream:
            await stream.receive()
            asked.set()
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
            closed.set()

    async with (
        await anyio.create_unix_listener(tmp_path / "s") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        async with anyio.create_task_group() as asking:
            asking.start_soon(ViciClient(tmp_path / "s").request, "version")
            await asked.wait()
            asking.cancel_scope.cancel()
        await closed.wait()
        tasks.cancel_scope.cancel()


async def test_more_connections_than_the_daemon_lets_wait_are_all_served(tmp_path):
    waiting, count = anyio.Event(), 20

    async def serve(stream):
        async with stream:
            await stream.receive()
            await stream.send(framed(answer(ok="yes")))

    listener = await anyio.create_unix_listener(tmp_path / "s", backlog=3)
    async with listener, anyio.create_task_group() as tasks:

        async def ask():
            nonlocal count
            await ViciClient(tmp_path / "s").request("version")
            count -= 1
            if not count:
                waiting.set()

        for _ in range(count):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(listener.serve, serve)
        await waiting.wait()
        tasks.cancel_scope.cancel()
