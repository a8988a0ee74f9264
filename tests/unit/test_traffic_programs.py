"""The programs at the two ends of a flow, as whoever starts them meets them; over the loopback interface."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from nodes.events import Event
from nodes.traffic.probe import ProbeFormat
from orchestrator.continuity import read_received, read_sent

ROOT = Path(__file__).parents[2]
FLOW = 0xC0FFEE


class Program:
    """One end of a flow."""

    def __init__(self, end: str, transport: str, log: Path, *arguments: str) -> None:
        argv = [sys.executable, "-m", f"nodes.traffic.{end}", transport]
        argv += [f"--flow-id={FLOW:x}", f"--log={log}", *arguments]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)

    def event(self) -> Event:
        return msgspec.json.decode(self.process.stdout.readline(), type=Event)

    def tell(self, line: bytes) -> None:
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def end(self) -> Event:
        """Close its input; its last event."""
        output, _ = self.process.communicate()
        return msgspec.json.decode(output.splitlines()[-1], type=Event)


@pytest.fixture
def start(tmp_path):
    programs = []

    def start(end: str, transport: str, *arguments: str) -> Program:
        log = tmp_path / f"{len(programs)}.{'sent' if end == 'send' else 'received'}"
        programs.append(Program(end, transport, log, *arguments))
        return programs[-1]

    yield start
    for program in programs:
        program.process.kill()
        program.process.communicate()


def to(port: int) -> list[str]:
    return ["--destination=::1", "--source=::1", f"--port={port}", "--rate=1000"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_flow_is_received_as_it_was_sent(start, tmp_path, transport):
    receiver = start("receive", transport, "--address=::1")
    ready = receiver.event()
    assert ready.kind == "ready"
    sender = start("send", transport, *to(ready.data["port"]), "--count=100")
    assert sender.event().kind == "ready"
    sent = sender.event()
    assert (sent.kind, sent.data["sent"], sent.data["handed_over"], sent.data["failed"]) == (
        "done",
        100,
        100,
        {},
    )
    receiver.tell(b'{"expected": 100}\n')
    received = receiver.event()
    assert (received.kind, received.data["received"]) == ("done", 100)
    assert (received.data["duplicated"], received.data["strays"], received.data["dropped"]) == (0, 0, 0)
    assert received.data.get("sha256") == sent.data.get("sha256")
    assert receiver.process.wait() == sender.process.wait() == 0
    at_sender, at_receiver = read_sent(tmp_path / "1.sent"), read_received(tmp_path / "0.received")
    assert at_sender.sequence.tolist() == at_receiver.sequence.tolist() == list(range(100))
    assert at_sender.sent_ns.tolist() == at_receiver.sent_ns.tolist()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_both_ends_end_when_their_input_is_closed(start, transport):
    receiver = start("receive", transport, "--address=::1")
    sender = start("send", transport, *to(receiver.event().data["port"]))
    assert sender.event().kind == "ready"
    sent, received = sender.end(), receiver.end()
    assert (sent.kind, received.kind) == ("done", "done")
    assert received.data["received"] <= sent.data["sent"]


def test_a_sender_that_is_held_sends_once_it_is_told_to_begin(start, tmp_path):
    receiver = start("receive", "udp", "--address=::1")
    sender = start("send", "udp", *to(receiver.event().data["port"]), "--held", "--count=5")
    assert sender.event().kind == "ready"
    told_ns = time.monotonic_ns()
    sender.tell(b'{"begin": true}\n')
    assert sender.event().data["sent"] == 5
    assert read_sent(tmp_path / "1.sent").sent_ns[0] >= told_ns


def test_a_sender_that_is_held_to_its_end_sends_nothing(start):
    receiver = start("receive", "udp", "--address=::1")
    sender = start("send", "udp", *to(receiver.event().data["port"]), "--held")
    assert sender.event().kind == "ready"
    assert sender.end().data["sent"] == 0


def test_a_sender_can_be_given_a_time_to_end(start):
    receiver = start("receive", "udp", "--address=::1")
    sender = start("send", "udp", *to(receiver.event().data["port"]), "--duration=0.05")
    assert sender.event().kind == "ready"
    done = sender.event()
    assert done.data["sent"] + done.data["skipped"] <= 50
    assert done.data["sent"] > 0


def test_a_receiver_that_misses_probes_ends_when_it_was_quiet_long_enough(start):
    receiver = start("receive", "udp", "--address=::1", "--quiet=0.05")
    receiver.event()
    receiver.tell(b'{"expected": 5}\n')
    assert receiver.event().data["received"] == 0


def test_a_keyboards_interrupt_is_not_for_the_programs(start):
    receiver = start("receive", "udp", "--address=::1")
    receiver.event()
    receiver.process.send_signal(signal.SIGINT)
    assert receiver.end().kind == "done"


def test_a_port_where_nothing_listens_is_sent_to_all_the_same(start):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as closed:
        closed.bind(("::1", 0))
        port = closed.getsockname()[1]
    sender = start("send", "udp", *to(port), "--count=20")
    assert sender.event().kind == "ready"
    done = sender.event()
    assert (done.data["sent"], done.data["handed_over"], done.data["failed"]) == (20, 20, {})
    assert done.data["icmp_errors"] > 0


def test_a_reader_that_does_not_read_stalls_a_stream_and_neither_blocks_the_sender_nor_loses_a_record(start):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        port = listener.getsockname()[1]
        sender = start("send", "tcp", *to(port), "--size=60000", "--rate=2000", "--count=400")
        assert sender.event().kind == "ready"
        connection, _ = listener.accept()
        with connection:
            assert sender.event().kind == "flow.stalled"
            done = sender.event()  # it ends although nobody reads
            assert done.kind == "done"
            assert done.data["sent"] == 400
            assert done.data["handed_over"] < 400
            taken = b"".join(iter(lambda: connection.recv(1 << 20), b""))
    assert len(taken) == done.data["octets"]
    probes = ProbeFormat(FLOW, 60_000)
    records = [taken[at : at + 60_000] for at in range(0, len(taken) - 59_999, 60_000)]
    assert [probes.decode(record)[0] for record in records] == list(range(done.data["handed_over"]))


def test_a_slow_reader_is_a_stall_that_is_told(start):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        sender = start("send", "tcp", *to(port), "--size=60000", "--rate=2000", "--count=400")
        assert sender.event().kind == "ready"
        connection, _ = listener.accept()
        with connection:
            assert sender.event().kind == "flow.stalled"
            said = []
            octets = 0
            while chunk := connection.recv(4096):
                octets += len(chunk)
        while not said or said[-1].kind != "done":
            said.append(sender.event())
    assert said[0].kind == "flow.resumed"
    assert said[0].data["stalled_ms"] > 0
    assert said[-1].data["stalls"] == sum(event.kind == "flow.stalled" for event in said) + 1
    assert said[-1].data["octets"] == octets


def test_a_connection_of_someone_else_is_turned_away(start):
    receiver = start("receive", "tcp", "--address=::1")
    port = receiver.event().data["port"]
    with socket.create_connection(("::1", port)) as stranger:
        stranger.sendall(b"x" * 200)
        assert stranger.recv(1) == b""
    sender = start("send", "tcp", *to(port), "--count=10")
    sender.event()
    assert sender.event().data["handed_over"] == 10
    receiver.tell(b'{"expected": 10}\n')
    done = receiver.event()
    assert (done.data["received"], done.data["strays"]) == (10, 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rate=9"], "--rate: 9 is not from 10 to 10000"),
        (["--rate=10001"], "--rate: 10001 is not from 10 to 10000"),
        (["--rate=fast"], "--rate"),
        (["--size=23"], "--size: 23 is not from 24 to 65000"),
        (["--destination=192.0.2.1"], "--destination"),
        (["--port=0"], "--port: 0 is not from 1 to 65535"),
        (["--duration=0"], "--duration: 0 is no time above 0"),
        (["--flow-id=0"], "--flow-id: 0 is no flow id"),
        (["--colour=red"], "--colour"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(start, arguments, says):
    sender = start("send", "udp", *to(9), *arguments)
    failed = sender.event()
    assert (failed.kind, failed.data["type"]) == ("failed", "UsageError")
    assert says in failed.data["text"]
    assert sender.process.wait() == 2


def test_an_address_of_another_node_is_one_clear_error(start):
    receiver = start("receive", "udp", "--address=2001:db8::1")
    failed = receiver.event()
    assert (failed.kind, failed.data["type"]) == ("failed", "FlowError")
    assert "cannot receive on [2001:db8::1]:0" in failed.data["text"]
