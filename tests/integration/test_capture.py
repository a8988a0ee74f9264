"""Captures of several places, as a run takes them."""

import os
import signal
import tempfile
from pathlib import Path

import anyio
import pytest
from bridged_nodes import bridged_nodes

from nodes.errors import CaptureError, NegotiationError, ParameterError
from orchestrator.capture.captures import Place, capture
from orchestrator.capture.classify import Kind, classify, numbers
from orchestrator.capture.live import live_capture
from orchestrator.capture.pcapng import read, read_file
from orchestrator.runtimes.base import BRIDGE

pytestmark = [pytest.mark.root, pytest.mark.anyio]

EVERYWHERE = ("a", "b", BRIDGE)


@pytest.fixture
def nodes(tmp_path):
    with bridged_nodes(tmp_path / "nodes") as there:
        yield there


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "captures"
    path.mkdir()
    return path


@pytest.fixture
def events():
    return []


def payloads(packets):
    udp = numbers(classify(packets).kind == Kind.UDP).tolist()
    return [packets.packet(number)[62:].decode() for number in udp]


async def test_every_place_sees_all_that_was_sent_while_the_captures_ran(nodes, folder, events):
    sent = [str(number) for number in range(200)]
    with nodes.sender("a") as sender:
        sender.send("before")
        async with capture(nodes, EVERYWHERE, events.append, folder=folder) as captures:
            sender.send(*sent)
    for place in EVERYWHERE:
        packets = read_file(folder / f"{place}.pcapng")
        assert payloads(packets) == sent
        found = captures.files[place]
        assert (found.file, found.packets, found.dropped) == (f"captures/{place}.pcapng", len(packets), 0)
        assert [interface.marked for interface in found.interfaces] == [True]
        assert found.clock_step_ns < 1_000_000


async def test_a_node_is_captured_on_every_interface_that_is_up_and_leads_out_of_it(nodes, folder, events):
    nodes.run("a", "ip tuntap add mode tun name tun0")  # it stays down
    with nodes.second_interface("a"):
        async with capture(nodes, ("a",), events.append, folder=folder) as captures:
            nodes.run("a", "ping -6 -c 1 fd00:2::1")
    found = captures.files["a"].interfaces
    assert [interface.name for interface in found] == ["eth0", "far", "other"]
    assert all(interface.marked for interface in found)


async def test_each_capture_says_when_it_started_and_ended(nodes, folder, events):
    async with capture(nodes, ("a", BRIDGE), events.append, folder=folder):
        started = [(e.kind, e.node, e.data["place"], e.data["interfaces"]) for e in events]
        assert sorted(started) == [
            ("capture.started", "", "bridge", ["br0"]),
            ("capture.started", "a", "a", ["eth0"]),
        ]
        events.clear()
    assert events.pop(0).kind == "captures.ending"
    ended = {e.data["place"]: (e.kind, e.data["dropped"]) for e in events}
    assert ended == {"a": ("capture.ended", 0), "bridge": ("capture.ended", 0)}


async def test_a_file_is_at_its_place_while_it_grows(nodes, folder, events):
    async with capture(nodes, ("a",), events.append, folder=folder) as captures:
        assert captures.path("a").exists()
        assert list(nodes.log_dir("a").iterdir()) == []


async def test_a_file_is_copied_from_another_file_system_at_the_end(folder, events):
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as other,
        bridged_nodes(Path(other, "nodes")) as elsewhere,
        elsewhere.sender("a") as sender,
    ):
        async with capture(elsewhere, EVERYWHERE, events.append, folder=folder):
            sender.send("over there")
        assert [list(elsewhere.log_dir(place).iterdir()) for place in EVERYWHERE] == [[], [], []]
    assert payloads(read_file(folder / f"{BRIDGE}.pcapng")) == ["over there"]


async def test_a_place_may_have_its_own_interfaces_filter_and_snaplen(nodes, folder, events):
    place = Place(name="a", interfaces=("lo", "eth0"), filter="udp", snaplen=100)
    with nodes.sender("a") as sender:
        async with capture(nodes, [place, "b"], events.append, folder=folder):
            nodes.run("a", "ping -6 -c 1 ::1")
            sender.send("x" * 500)
    packets = read_file(folder / "a.pcapng")
    assert [interface.name for interface in packets.interfaces] == ["lo", "eth0"]
    assert not (classify(packets).kind == Kind.ICMPV6).any()
    assert payloads(packets) == ["x" * 38]
    assert payloads(read_file(folder / "b.pcapng")) == ["x" * 500]


@pytest.mark.parametrize(
    ("place", "error", "text"),
    [
        (Place(name="b", interfaces=("nope",)), CaptureError, "no interface 'nope' here"),
        (Place(name="b", filter="("), ParameterError, "'\\(' is not a capture filter"),
    ],
)
async def test_a_capture_that_cannot_start_is_its_error_and_ends_the_others(
    nodes, folder, events, place, error, text
):
    with pytest.raises(error, match=text):
        async with capture(nodes, ["a", place], events.append, folder=folder):
            pytest.fail("the context must not be entered")
    assert {e.kind for e in events if e.data["place"] == "b"} == {"capture.failed"}


async def test_an_error_of_the_run_is_not_replaced_and_the_captures_are_whole(nodes, folder, events):
    with nodes.sender("a") as sender, pytest.raises(NegotiationError, match="no proposal"):
        async with capture(nodes, EVERYWHERE, events.append, folder=folder) as captures:
            sender.send("until here")
            raise NegotiationError("no proposal chosen")
    assert set(captures.files) == set(EVERYWHERE)
    assert payloads(read_file(folder / "a.pcapng")) == ["until here"]


async def test_a_run_that_is_cancelled_has_whole_captures_too(nodes, folder, events):
    with nodes.sender("a") as sender, anyio.CancelScope() as scope:
        async with capture(nodes, EVERYWHERE, events.append, folder=folder) as captures:
            sender.send("until here")
            scope.cancel()
            await anyio.sleep_forever()
    assert set(captures.files) == set(EVERYWHERE)
    assert payloads(read_file(folder / f"{BRIDGE}.pcapng")) == ["until here"]


async def test_a_capture_that_dies_is_said_at_once_and_raised_at_the_end(nodes, folder, events):
    died = anyio.Event()

    def publish(event):
        events.append(event)
        if event.kind == "capture.failed":
            died.set()

    with pytest.raises(CaptureError, match=r"dumpcap"):
        async with capture(nodes, EVERYWHERE, publish, folder=folder) as captures:
            os.kill(_dumpcap_at(nodes, "b"), signal.SIGKILL)
            with anyio.fail_after(30):
                await died.wait()
    assert set(captures.failures) == {"b"}
    assert set(captures.files) == {"a", BRIDGE}
    assert read_file(folder / "b.pcapng", allow_truncated=True).interfaces[0].name == "eth0"


def _dumpcap_at(nodes, place):
    """The process id of the dumpcap that runs at a place."""
    there = Path(f"/proc/{nodes.holders[place]}/ns/net").stat().st_ino
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
                if command[0].endswith(b"/dumpcap") and (entry / "ns/net").stat().st_ino == there:
                    return int(entry.name)
            except OSError:
                continue
    raise LookupError(place)


async def test_a_live_capture_has_every_packet_until_it_is_cancelled(nodes, tmp_path):
    with nodes.sender("a") as sender, (tmp_path / "live").open("wb") as output:
        async with anyio.create_task_group() as tasks:
            await tasks.start(live_capture, nodes, Place(name=BRIDGE), output)
            sender.send("first", "last")
            tasks.cancel_scope.cancel()
    assert payloads(read((tmp_path / "live").read_bytes())) == ["first", "last"]


async def test_a_live_capture_ends_with_its_reader(nodes):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        done = await live_capture(nodes, Place(name=BRIDGE), output)
    assert done.kind == "done"


async def test_a_live_capture_that_cannot_start_is_its_error(nodes, tmp_path):
    with (tmp_path / "live").open("wb") as output, pytest.raises(CaptureError, match="no interface 'nope'"):
        await live_capture(nodes, Place(name="a", interfaces=("nope",)), output)
