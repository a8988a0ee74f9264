"""What ``python -m nodes.capture`` captures, on real interfaces, with a real dumpcap."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from bridged_nodes import bridged_nodes
from running_capture import capture, marks_in, payloads

from orchestrator.capture.classify import Kind, classify, numbers
from orchestrator.capture.pcapng import read_file
from orchestrator.runtimes.base import BRIDGE

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with bridged_nodes(tmp_path_factory.mktemp("nodes")) as there:
        yield there


@pytest.fixture
def other(nodes):
    with nodes.second_interface("a") as name:
        yield name


def test_the_first_packet_after_ready_and_the_last_before_the_end_are_captured_every_time(nodes, tmp_path):
    def once(number):
        with nodes.sender("a") as sender:
            sender.send("before")
            file = tmp_path / f"{number}.pcapng"
            with capture(nodes, "a", file) as running:
                running.ready()
                sender.send(f"first-{number}", f"last-{number}")
                done = running.end()
        found = payloads(file)
        assert done["interfaces"][0]["marked"]
        assert done["packets"] == len(read_file(file))
        return f"first-{number}" in found and f"last-{number}" in found

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(once, range(50))) == 50


def test_the_last_packet_is_captured_from_the_middle_of_heavy_traffic(nodes, tmp_path):
    with nodes.sender("a") as sender, capture(nodes, "a", tmp_path / "c.pcapng") as running:
        running.ready()
        sent = [str(number) for number in range(3000)]
        sender.send(*sent)
        done = running.end()
    assert payloads(tmp_path / "c.pcapng") == sent
    assert done["dropped"] == 0


def test_the_counts_are_those_of_the_file(nodes, tmp_path):
    with nodes.sender("a") as sender, capture(nodes, "a", tmp_path / "c.pcapng") as running:
        ready = running.ready()
        sender.send(*"abcdefgh")
        done = running.end()
    packets = read_file(tmp_path / "c.pcapng")
    (interface,) = packets.interfaces
    (counted,) = done["interfaces"]
    assert ready["interfaces"] == ["eth0"] == [interface.name]
    came_after_the_end = interface.dropped  # such as a mark that was sent again
    assert done["packets"] == len(packets) == interface.received - came_after_the_end
    assert counted["received"] == interface.received
    assert (done["dropped"], counted["dropped"]) == (0, 0)
    assert packets.application.startswith("Dumpcap")


def test_times_are_in_nanoseconds_and_convert_to_the_events_clock(nodes, tmp_path):
    with nodes.sender("a") as sender, capture(nodes, "a", tmp_path / "c.pcapng") as running:
        offset = running.ready()["clock_offset_ns"]
        before = time.monotonic_ns()
        sender.send("now")
        after = time.monotonic_ns()
        running.end()
    packets = read_file(tmp_path / "c.pcapng")
    (sent,) = numbers(classify(packets).kind == Kind.UDP)
    assert before < packets.time_ns[sent - 1] - offset < after
    assert packets.interfaces[0].clock.ticks_per_second == 1_000_000_000


def test_packets_that_find_no_room_are_counted(nodes, tmp_path):
    with nodes.sender("a") as sender, capture(nodes, "a", tmp_path / "c.pcapng", "--buffer=1") as running:
        running.ready()
        os.kill(running.dumpcap, signal.SIGSTOP)
        sender.send(*["x" * 1400] * 3000)
        os.kill(running.dumpcap, signal.SIGCONT)
        done = running.end()
    assert done["dropped"] > 0
    packets = read_file(tmp_path / "c.pcapng")
    came_after_the_end = packets.interfaces[0].received - len(packets)
    assert packets.dropped - came_after_the_end == done["dropped"] == done["interfaces"][0]["dropped"]
    assert len(payloads(tmp_path / "c.pcapng")) + done["dropped"] >= 3000


def test_the_mark_ends_at_the_bridge(nodes, tmp_path):
    files = {place: tmp_path / f"{place}.pcapng" for place in ("a", "b", BRIDGE)}
    with (
        capture(nodes, "b", files["b"]) as at_b,
        capture(nodes, BRIDGE, files[BRIDGE], interface="br0") as at_bridge,
        capture(nodes, "a", files["a"]) as at_a,
        nodes.sender("a") as sender,
    ):
        for running in (at_a, at_b, at_bridge):
            running.ready()
        at_a.end()
        at_bridge.end()
        sender.send("after both marks")
        done = at_b.end()
    marks = {place: marks_in(file) for place, file in files.items()}
    assert all(marks.values())
    assert not marks["a"] & marks["b"] | marks["a"] & marks[BRIDGE] | marks["b"] & marks[BRIDGE]
    assert done["interfaces"][0]["marked"]
    assert payloads(files["b"]) == ["after both marks"]


def test_the_bridge_sees_what_passes_between_the_nodes(nodes, tmp_path):
    with capture(nodes, BRIDGE, tmp_path / "c.pcapng", interface="br0") as running:
        running.ready()
        with nodes.sender("a") as a, nodes.sender("b") as b:
            a.send("from a")
            b.send("from b")
        done = running.end()
    assert payloads(tmp_path / "c.pcapng") == ["from a", "from b"]
    assert done["interfaces"] == [{"name": "br0", "received": done["packets"], "dropped": 0, "marked": True}]


_TUN = """
import fcntl, os, struct, sys
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def tun(nodes):
    """A TUN interface in node ``a`` that somebody holds open, as charon does."""
    with subprocess.Popen(
        nodes.command("a", [sys.executable, "-c", _TUN]), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"open\n"
        nodes.run("a", "ip address add fd00:1::1/64 dev tun0 nodad")
        nodes.run("a", "ip link set tun0 up")
        yield holder
        holder.stdin.close()


@pytest.mark.usefixtures("tun")
@pytest.mark.parametrize("wanted", [[], ["--filter=udp"]], ids=["everything", "filtered"])
def test_several_interfaces_are_captured_into_one_file(nodes, tmp_path, wanted):
    arguments = ["--interface=tun0", "--interface=lo", *wanted]
    with nodes.sender("a") as sender, capture(nodes, "a", tmp_path / "c.pcapng", *arguments) as running:
        assert running.ready()["interfaces"] == ["tun0", "lo", "eth0"]
        sender.send("on eth0")
        with nodes.sender("a", to="fd00:1::2") as through_tun:
            through_tun.send("on tun0")
        done = running.end()
    packets = read_file(tmp_path / "c.pcapng")
    headers = classify(packets)
    assert [i.name for i in packets.interfaces] == ["tun0", "lo", "eth0"]
    assert [(i["name"], i["marked"]) for i in done["interfaces"]] == [
        ("tun0", True),
        ("lo", True),
        ("eth0", True),
    ]
    found = {
        packets.interfaces[packets.interface[number - 1]].name: packets.packet(number)[-7:]
        for number in numbers(headers.kind == Kind.UDP).tolist()
    }
    assert found == {"eth0": b"on eth0", "tun0": b"on tun0"}
    assert set(packets.interface[headers.kind == Kind.END_MARK].tolist()) == {0, 1, 2}


def test_many_packets_a_second_on_several_interfaces_are_not_dropped_by_dumpcap_itself(nodes, tmp_path):
    file = tmp_path / "c.pcapng"
    with nodes.sender("a") as sender, capture(nodes, "a", file, "--interface=lo") as running:
        running.ready()
        os.kill(running.dumpcap, signal.SIGSTOP)  # all of it comes at once, more than dumpcap's own queue
        sender.send(*[str(number) for number in range(4000)])
        os.kill(running.dumpcap, signal.SIGCONT)
        done = running.end()
    assert done["dropped"] == 0
    assert len(payloads(tmp_path / "c.pcapng")) == 4000


def test_an_interface_that_is_down_at_the_end_is_captured_but_unmarked(nodes, tmp_path, other):
    with capture(nodes, "a", tmp_path / "c.pcapng", interface=other) as running:
        running.ready()
        with nodes.sender("a", to=f"ff02::1%{other}") as sender:
            sender.send("before it went down")
        nodes.run("a", f"ip link set {other} down")
        done = running.end()
    assert done["interfaces"][0]["marked"] is False
    assert "before it went down" in payloads(tmp_path / "c.pcapng")


def test_a_mark_that_could_not_be_sent_is_sent_again(nodes, tmp_path, other):
    with capture(nodes, "a", tmp_path / "c.pcapng", interface=other) as running:
        running.ready()
        nodes.run("a", f"ip link set {other} down")
        running.process.stdin.close()
        nodes.run("a", f"ip link set {other} up")
        done = running.end()
    assert done["interfaces"][0]["marked"] is True


def test_a_filter_passes_what_is_wanted_and_the_mark(nodes, tmp_path):
    wanted = "--filter=icmp6 and icmp6[0] == 99"
    with nodes.sender("a") as sender, capture(nodes, "a", tmp_path / "c.pcapng", wanted) as running:
        running.ready()
        sender.send("unwanted")
        done = running.end()
    assert set(classify(read_file(tmp_path / "c.pcapng")).kind.tolist()) == {Kind.END_MARK}
    assert done["interfaces"][0]["marked"]


def test_a_snaplen_cuts_packets_and_says_how_long_they_were(nodes, tmp_path):
    with nodes.sender("a") as sender, capture(nodes, "a", tmp_path / "c.pcapng", "--snaplen=96") as running:
        running.ready()
        sender.send("x" * 1000)
        running.end()
    packets = read_file(tmp_path / "c.pcapng")
    (sent,) = numbers(classify(packets).kind == Kind.UDP) - 1
    assert (packets.captured[sent], packets.original[sent]) == (96, 1062)


def test_a_file_that_dumpcap_wrote_reads_as_tshark_reads_it(nodes, tmp_path):
    file = tmp_path / "c.pcapng"
    with nodes.sender("a") as sender, capture(nodes, "a", file, "--interface=lo") as running:
        running.ready()
        sender.send(*[str(n) * (n % 30) or "0" for n in range(300)])
        running.end()
    fields = ["number", "time_epoch", "interface_name", "cap_len"]
    said = subprocess.run(
        ["tshark", "-r", file, "-T", "fields", *(f"-eframe.{field}" for field in fields)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    packets = read_file(file)
    assert len(said) == len(packets) > 300
    for index, line in enumerate(said):
        number, time, name, captured = line.split("\t")
        assert int(number) == index + 1
        assert int(time.replace(".", "")) == packets.time_ns[index]
        assert name == packets.interfaces[packets.interface[index]].name
        assert int(captured) == packets.captured[index]
