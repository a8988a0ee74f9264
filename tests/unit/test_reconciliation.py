"""Logs and captures of a folder become a check of each flow, with the packets as evidence."""

import dataclasses
import ipaddress

import pytest
from pcapng_building import SECOND, interface, packet, section
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from nodes.traffic.flow_log import FlowLog, LogKind
from nodes.traffic.probe import ProbeFormat
from orchestrator.evidence.run_file import CapturedInterface, CaptureFile
from orchestrator.evidence.verdict import Outcome
from orchestrator.flows.result import read_result
from orchestrator.flows.spec import FlowSpec
from orchestrator.reconciliation import reconcile

FLOW = 0x0102030405060708
SIZE = 100
MS = 1_000_000
OFFSET = 1_700_000_000 * SECOND
"""CLOCK_REALTIME less CLOCK_MONOTONIC, in these captures."""
DELAY = 40_000
ALL = range(20)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


class Run:
    """The evidence of one flow from ``a`` to ``b``, as far as a test has made it."""

    def __init__(self, folder):
        self.folder = folder
        self.captures = {}

    def flow(self, received=ALL, *, dropped=0, cut_off=None):
        spec = FlowSpec(
            name="a-b",
            source="a",
            destination="b",
            source_address=ipaddress.IPv6Address("fd00::a"),
            destination_address=ipaddress.IPv6Address("fd00::b"),
            size=SIZE,
        )
        logs = self.folder / "a-b.sent", self.folder / "a-b.received"
        with FlowLog(logs[0], LogKind.SENT, flow_id=FLOW, interval_ns=MS) as log:
            for number in ALL:
                log.sent(number, number * MS, number * MS, 0)
        with FlowLog(logs[1], LogKind.RECEIVED, flow_id=FLOW) as log:
            for number in received:
                log.received(number, number * MS + DELAY, number * MS)
        result = read_result(
            spec, FLOW, sent=logs[0], received=logs[1], sender={}, receiver={}, stall_ms=20, cut_off=cut_off
        )
        return dataclasses.replace(result, dropped=dropped)

    def capture(self, place, seen=ALL, *, esp=0, cut=None, **changes):
        probes = ProbeFormat(FLOW, SIZE)
        frames = [
            (_frame(UDP(sport=1, dport=7000) / Raw(probes.encode(number, number * MS))), number * MS)
            for number in seen
        ]
        frames += [(_frame(ESP(spi=7, seq=number, data=b"x" * 40)), number * MS) for number in range(esp)]
        blocks = [
            packet(octets[:cut], OFFSET + time_ns + (DELAY if place == "b" else 0), original=len(octets))
            for octets, time_ns in frames
        ]
        (self.folder / f"{place}.pcapng").write_bytes(section() + interface(name="eth0") + b"".join(blocks))
        values = {
            "file": f"{place}.pcapng",
            "packets": len(frames),
            "dropped": 0,
            "interfaces": (CapturedInterface(name="eth0", received=len(frames), dropped=0, marked=True),),
            "clock_offset_ns": OFFSET,
            "clock_step_ns": 0,
        }
        self.captures[place] = CaptureFile(**(values | changes))

    def check(self, *arguments, **more):
        (check,) = reconcile([self.flow(*arguments, **more)], self.folder, self.captures).checks
        return check


def _frame(layers):
    ethernet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    return bytes(ethernet / IPv6(src="fd00::a", dst="fd00::b") / layers)


def test_a_flow_whose_packets_bear_it_out_passes_with_the_packets_as_evidence(run):
    run.capture("a")
    run.capture("b")
    check = run.check()
    assert (check.name, check.outcome) == ("application and packets agree: a-b", Outcome.PASS)
    assert check.measured == {
        "delivered": 20,
        "leaving a": {"packets": 20, "first": [1, 2, 3], "last": 20},
        "arriving at b": {"packets": 20, "first": [1, 2, 3], "last": 20},
        "times differ by at most, ms": 0.0,
    }


def test_a_loss_on_the_way_is_no_disagreement(run):
    run.capture("a")
    run.capture("b", range(15))
    check = run.check(range(15))
    assert check.outcome is Outcome.PASS
    assert (check.measured["delivered"], check.measured["lost on the way"]) == (15, 5)


def test_a_disagreement_is_inconclusive_and_names_the_packets(run):
    run.capture("a")
    run.capture("b", range(15))
    check = run.check()
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.measured["received, not seen arriving"] == {
        "probes": 5,
        "first": [15, 16, 17],
        "packets at a": [16, 17, 18],
    }


def test_a_capture_that_dropped_packets_cannot_say_that_a_probe_was_lost(run):
    run.capture("a")
    run.capture("b", range(15), dropped=3)
    check = run.check(range(15))
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.measured["doubts"] == [
        "5 probes were not seen at b, whose capture may miss them: it dropped 3 packets"
    ]


def test_a_capture_that_dropped_packets_of_others_still_bears_out_a_flow(run):
    run.capture("a", dropped=3)
    run.capture("b")
    assert run.check().outcome is Outcome.PASS


def test_a_capture_whose_end_is_not_proved_cannot_say_that_a_probe_was_lost(run):
    run.capture("a")
    unmarked = (CapturedInterface(name="eth0", received=15, dropped=0, marked=False),)
    run.capture("b", range(15), interfaces=unmarked)
    assert "not proved by a mark" in run.check(range(15)).measured["doubts"][0]


def test_packets_cut_too_short_by_the_capture_are_said(run):
    run.capture("a")
    run.capture("b", cut=80)
    check = run.check(range(15))
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "cut 20 packets too short" in check.measured["doubts"][0]


def test_packets_cut_after_the_probes_header_are_enough(run):
    run.capture("a", cut=86)
    run.capture("b", cut=86)
    assert run.check().outcome is Outcome.PASS


def test_what_the_receivers_socket_dropped_is_no_disagreement(run):
    run.capture("a")
    run.capture("b")
    check = run.check([0, 1, 2, *range(5, 20)], dropped=2)
    assert check.outcome is Outcome.PASS
    assert check.measured["not received, for a known reason"] == 2


def test_a_source_whose_kernel_encrypts_before_the_capture_is_left_open(run):
    run.capture("a", [], esp=20)
    run.capture("b", range(15))
    check = run.check(range(15))
    assert check.outcome is Outcome.PASS
    assert check.measured["leaving a"] == "encrypted by its kernel, not seen"
    assert check.measured["lost before the destination"] == 5


def test_a_source_that_shows_neither_probes_nor_esp_is_a_disagreement(run):
    run.capture("a", [])
    run.capture("b")
    assert run.check().measured["received or seen arriving, not seen leaving"]["probes"] == 20


def test_a_flow_that_was_cut_off_is_inconclusive(run):
    run.capture("a")
    run.capture("b")
    check = run.check(range(15), cut_off="the receiver was killed")
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.measured["doubts"] == ["the flow did not end in order: the receiver was killed"]


def test_times_are_not_compared_where_the_wall_clock_was_set(run):
    run.capture("a")
    run.capture("b", clock_step_ns=5_000 * MS, clock_offset_ns=OFFSET + 5_000 * MS)
    check = run.check()
    assert check.outcome is Outcome.PASS
    assert check.measured["times"] == "not compared: the wall clock was set by 5000.000 ms"


def test_a_clock_offset_that_is_wrong_is_a_disagreement(run):
    run.capture("a")
    run.capture("b", clock_offset_ns=OFFSET + 5 * MS)
    assert run.check().measured["received at another time than seen"]["probes"] == 20


def test_a_node_without_a_capture_is_inconclusive(run):
    run.capture("a")
    check = run.check()
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.measured == {"not reconciled": "there is no capture at b"}


def test_a_capture_that_cannot_be_read_is_inconclusive(run):
    run.capture("a")
    run.capture("b")
    (run.folder / "b.pcapng").write_bytes(b"foreign")
    check = run.check()
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "not a pcapng file" in check.measured["not reconciled"]
