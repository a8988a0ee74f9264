"""A small evidence folder: an IKEv1 negotiation, a fault, and a flow that loses probes."""

import ipaddress
import struct

import msgspec
from pcapng_building import interface, packet, section
from verdict_examples import check, flow, some_verdict

from nodes.events import Event
from nodes.traffic.flow_log import FlowLog, LogKind
from orchestrator.evidence import run_file, verdict
from orchestrator.evidence.run_file import CapturedInterface, CaptureFile, RunFile
from orchestrator.evidence.verdict import Check, Interruption, Outcome

MS = 1_000_000
ORIGIN = 50_000 * MS
"""CLOCK_MONOTONIC when the run began."""
OFFSET = 1_700_000_000_000 * MS
"""From that clock to CLOCK_REALTIME."""
A, B = "fd00::a", "fd00::b"
COOKIE_A, COOKIE_B = b"\xaa" * 8, b"\xbb" * 8


def ike(exchange, message_id=0, *, version=1, flags=0, payloads=(), first=0, responder=COOKIE_B, body=b""):
    """An IKE message: ``payloads`` are (type, content), chained; or ``body`` after ``first``."""
    chained = b""
    kinds = [kind for kind, _ in payloads] + [0]
    for following, (_, content) in zip(kinds[1:], payloads, strict=True):
        chained += struct.pack(">BBH", following, 0, len(content) + 4) + content
    chained += body
    header = struct.pack(
        ">8s8sBBBBII",
        COOKIE_A,
        responder,
        kinds[0] or first,
        version << 4,
        exchange,
        flags,
        message_id,
        28 + len(chained),
    )
    return header + chained


def udp(source, destination, content, *, port=500):
    """An Ethernet frame with IPv6 and UDP; on port 4500 ``content`` has its own marker."""
    length = len(content) + 8
    addresses = b"".join(ipaddress.IPv6Address(one).packed for one in (source, destination))
    ip = struct.pack(">IHBB", 6 << 28, length, 17, 64) + addresses
    return bytes(12) + b"\x86\xdd" + ip + struct.pack(">HHHH", port, port, length, 0) + content


def esp(source, destination, spi, sequence):
    return udp(source, destination, struct.pack(">II", spi, sequence) + bytes(40), port=4500)


QM1 = ike(32, 7, flags=1, first=8, body=b"\x01" * 32)
QM2 = ike(32, 7, flags=1, first=8, body=b"\x02" * 32)
QM3 = ike(32, 7, flags=1, first=8, body=b"\x03" * 32)
MARKER = bytes(4)
FRAMES = [
    (10, udp(A, B, ike(2, payloads=((1, b"sa"), (13, b"vendor")), responder=bytes(8)))),
    (11, udp(B, A, ike(2, payloads=((1, b"sa"),)))),
    (20, udp(A, B, MARKER + QM1, port=4500)),
    (21, udp(B, A, MARKER + QM2, port=4500)),
    (22, udp(A, B, MARKER + QM3, port=4500)),
    (100, esp(A, B, 0x11111111, 1)),
    (150, esp(A, B, 0x11111111, 2)),
    (160, esp(B, A, 0x22222222, 1)),
    (4022, udp(A, B, MARKER + QM3, port=4500)),
]
"""Times in ms since the run began, and frames: packets 1 to 9."""


def capture_bytes(frames=FRAMES):
    blocks = [packet(octets, OFFSET + ORIGIN + int(ms * MS)) for ms, octets in frames]
    return section() + interface(name="bridge") + b"".join(blocks)


def child(number, spi_in, spi_out):
    return {"name": "inner", "unique_id": number, "spi_in": spi_in, "spi_out": spi_out, "protocol": "ESP"}


def event(ms, node, kind, **data):
    return Event(time_ns=ORIGIN + int(ms * MS), node=node, kind=kind, data=data)


EVENTS = [
    event(0, "", "testbed.starting", run="cafe0001"),
    event(15, "peer-a", "ike-sa.established", name="tunnel", unique_id=1, local_address=A),
    event(16, "peer-b", "ike-sa.established", name="tunnel", unique_id=1, local_address=B),
    event(23, "peer-a", "child-sa.installed", **child(1, "22222222", "11111111")),
    event(24, "", "fault.applied", rule="drop quick-mode 3", action="drop", exchange="quick-mode", message=3),
    event(4025, "peer-a", "child-sa.rekeyed", old=child(1, "22222222", "11111111"), new=child(2, "44", "33")),
]


def write_flow(folder, *, lost=range(200, 300), count=1000, interval_ms=2, delay_ms=0.25):
    """A flow ``udp-a-b`` of ``count`` probes from 1 s on, of which ``lost`` did not arrive."""
    for node in ("peer-a", "peer-b"):
        (folder / "nodes" / node).mkdir(parents=True, exist_ok=True)
    sent = folder / "nodes" / "peer-a" / "udp-a-b.sent"
    received = folder / "nodes" / "peer-b" / "udp-a-b.received"
    start = ORIGIN + 1000 * MS
    with (
        FlowLog(sent, LogKind.SENT, flow_id=1, interval_ns=interval_ms * MS) as out,
        FlowLog(received, LogKind.RECEIVED, flow_id=1) as arrived,
    ):
        for number in range(count):
            at = start + number * interval_ms * MS
            out.sent(number, at, at + 1000, 0)
            if number not in lost:
                arrived.received(number, at + int(delay_ms * MS), at)


def write_evidence(folder, *, events=EVENTS, verdict_too=True, capture=None, flow_too=True, **changes):
    """Write the folder and return it; ``changes`` are the verdict's."""
    (folder / "captures").mkdir(parents=True)
    (folder / "nodes").mkdir()
    if flow_too:
        write_flow(folder)
    content = capture_bytes() if capture is None else capture
    (folder / "captures" / "bridge.pcapng").write_bytes(content)
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in events)
    (folder / "timeline.jsonl").write_bytes(lines)
    marked = CapturedInterface(name="bridge", received=len(FRAMES), dropped=0, marked=True)
    file = CaptureFile(
        file="captures/bridge.pcapng",
        packets=len(FRAMES),
        dropped=0,
        interfaces=(marked,),
        clock_offset_ns=OFFSET,
        clock_step_ns=0,
    )
    run = RunFile(
        scenario="rekey",
        parameters={"ike": "1", "pfs": True},
        seed=7,
        command=("hopbed", "run", "rekey"),
        command_line="hopbed run rekey --seed 7",
        directory="/home/tester",
        started="2026-01-02T03:04:05.000+00:00",
        ended="2026-01-02T03:04:10.000+00:00",
        origin_ns=ORIGIN,
        captures={"bridge": file},
        versions={"hopbed": "0.1.0"},
    )
    (folder / "run.json").write_bytes(run_file.encode(run))
    if verdict_too:
        interruption = Interruption(start_ms=1400.25, end_ms=1600.25, lost=100, event="fault.applied")
        values = {
            "flows": (
                flow(
                    sent=1000,
                    name="udp-a-b",
                    source="peer-a",
                    destination="peer-b",
                    received=900,
                    lost=100,
                    longest_gap_ms=200.0,
                    interruptions=(interruption,),
                ),
            ),
            "checks": (
                check(Outcome.FAIL, name="lost on udp-a-b"),
                Check(
                    name="ESP was seen",
                    expected="some",
                    measured={"A > B": {"packets": 2, "first": [6, 7], "last": 7}},
                    outcome=Outcome.PASS,
                ),
            ),
            "outcome": Outcome.FAIL,
        }
        (folder / "verdict.json").write_bytes(verdict.encode(some_verdict(**(values | changes))))
    return folder
