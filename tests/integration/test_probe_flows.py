"""Probe flows over real packets: what was done to the network is what the flows say."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import anyio
import numpy as np
import pytest
from paired_nodes import ADDRESSES, PairedNodes, paired_nodes

from nodes import errors
from nodes.events import Event
from nodes.traffic.flow_log import HEADER, RECEIVED, SENT
from orchestrator.continuity import read_received, read_sent
from orchestrator.flows import FlowResult, FlowSpec, Transport, run_flows

pytestmark = [pytest.mark.anyio, pytest.mark.root]

PORT = 40_000

A_TO_B = FlowSpec(
    name="a-to-b",
    source="a",
    destination="b",
    source_address=ADDRESSES["a"],
    destination_address=ADDRESSES["b"],
    rate=1000,
    port=PORT,
)


@pytest.fixture
def nodes(tmp_path):
    with paired_nodes(tmp_path) as nodes:
        yield nodes
        assert nodes.still_there() == []


@pytest.fixture
def events() -> list[Event]:
    return []


def spec(**changes: object) -> FlowSpec:
    values = {field: getattr(A_TO_B, field) for field in A_TO_B.__dataclass_fields__}
    return FlowSpec(**(values | changes))


async def grown(nodes: PairedNodes, end: str, records: int) -> None:
    """Return once so many more records are in the log of the ``sent`` or the ``received`` end."""
    node, size = ("a", SENT.size) if end == "sent" else ("b", RECEIVED.size)
    log = nodes.log_dir(node) / f"a-to-b.{end}"
    missing = records * size
    written = max(log.stat().st_size, HEADER.size)
    async with await anyio.open_process(["tail", "--follow", f"--bytes=+{written + 1}", str(log)]) as tail:
        assert tail.stdout is not None
        while missing > 0:
            missing -= len(await tail.stdout.receive())
        tail.terminate()


async def run_counted(nodes: PairedNodes, flow: FlowSpec, publish: Callable[[Event], None]) -> FlowResult:
    """The result of a flow that ends by itself."""
    async with run_flows(nodes, [flow], publish=publish) as flows:
        await flows.wait_sent()
    (result,) = flows.results
    return result


def longest_pause_ns(nodes: PairedNodes) -> int:
    """The longest time between two probes; on a busy machine the sender cannot always run."""
    return int(np.diff(read_sent(nodes.log_dir("a") / "a-to-b.sent").sent_ns).max())


def add_rule(nodes: PairedNodes, node: str, rule: str, *, hook: str = "input") -> None:
    """Have the node's kernel apply a rule to what passes ``hook``, and count what the rule matched."""
    family, device = ("netdev", "device wire") if hook == "egress" else ("inet", "")
    commands = (
        f"add table {family} probe",
        f"add counter {family} probe matched",
        f"add chain {family} probe hooked {{ type filter hook {hook} {device} priority 0; }}",
        f"add rule {family} probe hooked {rule}",
    )
    nodes.run(node, "nft -f -", stdin="\n".join(commands))


def matched(nodes: PairedNodes, node: str) -> int:
    words = nodes.run(node, "nft list counter inet probe matched").split()
    return int(words[words.index("packets") + 1])


async def test_an_undisturbed_network_loses_nothing_in_either_direction(nodes, events):
    there = spec(count=10_000, port=0)
    async with run_flows(nodes, [there, there.reverse("b-to-a")], publish=events.append) as flows:
        await flows.wait_sent()
    assert [result.spec.name for result in flows.results] == ["a-to-b", "b-to-a"]
    for result in flows.results:
        found = result.continuity
        assert (found.sent, found.received, found.lost) == (10_000, 10_000, 0)
        assert (found.duplicated, found.reordered, result.dropped, result.strays) == (0, 0, 0, 0)
        assert found.delay is not None
        assert found.longest_gap_ms <= found.delay.max_ms
        assert result.doubts == ()
    kinds = [(event.kind, event.data["flow"]) for event in events]
    assert sorted(kinds[:2]) == [("flow.started", "a-to-b"), ("flow.started", "b-to-a")]
    assert sorted(kinds[2:]) == [("flow.stopped", "a-to-b"), ("flow.stopped", "b-to-a")]


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP, Transport.QUIC])
async def test_a_flow_that_is_held_sends_nothing_before_it_is_let_go(nodes, events, transport):
    flow = spec(count=100, rate=100, transport=transport, held=True)
    async with run_flows(nodes, [flow], publish=events.append) as flows:
        let_go_ns = time.monotonic_ns()
        await flows.begin()
        await flows.wait_sent()
    sent = read_sent(nodes.log_dir("a") / "a-to-b.sent")
    assert len(sent.sent_ns) == 100
    assert sent.sent_ns.min() > let_go_ns
    assert flows.results[0].continuity.lost == 0


async def test_probes_dropped_in_a_row_are_found_with_their_exact_number(nodes, events):
    low_half_of_the_number = "@th,160,32"
    add_rule(nodes, "b", f"udp dport {PORT} {low_half_of_the_number} 1000-1199 counter name matched drop")
    result = await run_counted(nodes, spec(count=3000), events.append)
    found = result.continuity
    assert found.lost == matched(nodes, "b") == 200
    assert found.loss_derived_ms == 200
    (interruption,) = [i for i in found.interruptions if i.lost]
    assert interruption.lost == 200
    log = read_sent(nodes.log_dir("a") / "a-to-b.sent")
    lost_for_ms = (log.sent_ns[1199] - log.sent_ns[1000] + found.interval_ns) / 1e6
    assert found.delay is not None
    assert abs(interruption.outage_ms - lost_for_ms) <= 1 + found.delay.max_ms
    assert log.sent_ns[1000] <= interruption.start_ns <= log.returned_ns[1000] + found.delay.max_ms * 1e6


async def test_a_link_that_goes_down_and_up_costs_what_the_kernel_counted(nodes, events):
    add_rule(nodes, "a", f"udp dport {PORT} counter name matched", hook="output")
    add_rule(nodes, "b", f"udp dport {PORT} counter name matched")
    async with run_flows(nodes, [spec()], publish=events.append) as flows:
        await grown(nodes, "received", 300)
        nodes.run("b", "ip link set wire down")
        down_ns = time.monotonic_ns()
        await grown(nodes, "sent", 300)
        up_ns = time.monotonic_ns()
        nodes.run("b", "ip link set wire up")
        await grown(nodes, "received", 300)
    (result,) = flows.results
    found = result.continuity
    refused = sum(result.failed.values())
    assert found.lost - refused == matched(nodes, "a") - matched(nodes, "b")
    assert found.lost > 0
    longest = max(found.interruptions, key=lambda interruption: interruption.outage_ms)
    assert longest.start_ns <= down_ns + longest_pause_ns(nodes)
    assert longest.end_ns >= up_ns - longest_pause_ns(nodes)


async def test_a_send_that_the_node_refuses_counts_as_sent_and_lost(nodes, events):
    async with run_flows(nodes, [spec()], publish=events.append) as flows:
        await grown(nodes, "received", 200)
        nodes.run("a", f"ip route add blackhole {ADDRESSES['b']}")
        await grown(nodes, "sent", 200)
        nodes.run("a", f"ip route del blackhole {ADDRESSES['b']}")
        await grown(nodes, "received", 200)
    (result,) = flows.results
    assert result.failed == {"EINVAL": result.continuity.lost}
    assert result.continuity.lost > 0
    assert [i.lost for i in result.continuity.interruptions if i.lost] == [result.continuity.lost]


async def test_a_flow_without_any_route_yet_starts_and_counts_from_its_first_probe(nodes, events):
    nodes.run("a", f"ip route add unreachable {ADDRESSES['b']}")
    async with run_flows(nodes, [spec()], publish=events.append) as flows:
        await grown(nodes, "sent", 200)
        nodes.run("a", f"ip route del unreachable {ADDRESSES['b']}")
        await grown(nodes, "received", 200)
    (result,) = flows.results
    assert result.failed == {"EHOSTUNREACH": result.continuity.lost}
    head = result.continuity.interruptions[0]
    assert head.lost == result.continuity.lost > 0
    assert head.start_ns == pytest.approx(read_sent(nodes.log_dir("a") / "a-to-b.sent").sent_ns[0], abs=5e7)


async def test_a_sender_that_is_stopped_is_no_interruption(nodes, events):
    async with run_flows(nodes, [spec()], publish=events.append) as flows:
        await grown(nodes, "received", 200)
        sender = nodes.pid("nodes.traffic.send", "a-to-b.sent")
        os.kill(sender, signal.SIGSTOP)
        await anyio.sleep(0.2)  # the length of the pause
        os.kill(sender, signal.SIGCONT)
        await grown(nodes, "received", 200)
    (result,) = flows.results
    log = read_sent(nodes.log_dir("a") / "a-to-b.sent")
    assert (log.sent_ns[1:] - log.returned_ns[:-1]).max() >= 150e6 or result.skipped >= 150
    assert result.skipped >= 150
    assert result.continuity.lost == 0
    assert result.continuity.interruptions == ()


async def test_a_receiver_that_is_stopped_neither_loses_nor_delays_a_probe(nodes, events):
    async with run_flows(nodes, [spec()], publish=events.append) as flows:
        await grown(nodes, "received", 200)
        receiver = nodes.pid("nodes.traffic.receive", "a-to-b.received")
        os.kill(receiver, signal.SIGSTOP)
        await grown(nodes, "sent", 300)
        os.kill(receiver, signal.SIGCONT)
        await grown(nodes, "received", 400)
    (result,) = flows.results
    assert (result.continuity.lost, result.dropped) == (0, 0)
    assert result.continuity.interruptions == ()


async def test_what_the_receivers_socket_had_no_room_for_makes_the_flow_doubtful(nodes, events):
    flood = spec(rate=10_000, size=1000)
    async with run_flows(nodes, [flood], publish=events.append) as flows:
        await grown(nodes, "received", 200)
        receiver = nodes.pid("nodes.traffic.receive", "a-to-b.received")
        os.kill(receiver, signal.SIGSTOP)
        await grown(nodes, "sent", 15_000)
        os.kill(receiver, signal.SIGCONT)
        await grown(nodes, "received", 200)
    (result,) = flows.results
    assert result.dropped == result.continuity.lost > 0
    assert f"no room for {result.dropped} probes" in result.doubts[0]


async def test_receive_times_are_on_the_senders_clock(nodes, events):
    await run_counted(nodes, spec(count=1000), events.append)
    received = read_received(nodes.log_dir("b") / "a-to-b.received")
    assert (received.received_ns >= received.sent_ns).all()


async def test_other_packets_at_the_port_are_never_counted(nodes, events):
    address = (str(ADDRESSES["b"]), PORT)
    junk = f"import socket; socket.socket(socket.AF_INET6, 2).sendto(bytes(200), {address})"
    async with run_flows(nodes, [spec()], publish=events.append) as flows:
        await grown(nodes, "received", 100)
        nodes.run("b", f'{nodes.python[0]} -c "{junk}"')
        await grown(nodes, "received", 300)
    (result,) = flows.results
    assert result.strays == 1
    assert (result.continuity.lost, result.continuity.unexpected, result.continuity.duplicated) == (0, 0, 0)


async def test_a_duplicated_probe_is_counted_once(nodes, events):
    once = "meta mark 0 meta mark set 1"  # the copy passes the hook too
    add_rule(nodes, "a", f"udp dport {PORT} @th,160,32 500 {once} dup to wire", hook="egress")
    result = await run_counted(nodes, spec(count=1000), events.append)
    assert (result.continuity.received, result.continuity.duplicated) == (1000, 1)
    assert result.continuity.lost == 0


async def test_a_tcp_stream_arrives_as_it_was_sent(nodes, events):
    there = spec(transport=Transport.TCP, count=3000, port=0)
    async with run_flows(nodes, [there, there.reverse("b-to-a")], publish=events.append) as flows:
        await flows.wait_sent()
    for result in flows.results:
        assert result.identical is True
        assert (result.continuity.sent, result.continuity.lost) == (3000, 0)
        assert (result.continuity.reordered, result.broken, result.doubts) == (0, None, ())


async def test_a_tcp_stream_that_the_network_holds_up_is_interrupted_and_loses_nothing(nodes, events):
    async with run_flows(nodes, [spec(transport=Transport.TCP)], publish=events.append) as flows:
        await grown(nodes, "received", 300)
        add_rule(nodes, "b", f"tcp dport {PORT} drop")
        cut_ns = time.monotonic_ns()
        await grown(nodes, "sent", 300)
        mended_ns = time.monotonic_ns()
        nodes.run("b", "nft delete table inet probe")
        await grown(nodes, "received", 300)
    (result,) = flows.results
    assert result.identical is True
    assert result.continuity.lost == 0
    assert result.retransmitted is not None
    assert result.retransmitted > 0
    longest = max(result.continuity.interruptions, key=lambda interruption: interruption.outage_ms)
    assert longest.start_ns <= cut_ns + longest_pause_ns(nodes)
    assert longest.end_ns >= mended_ns


async def test_a_tcp_connection_that_is_reset_says_so_and_its_flow_ends_there(nodes, events):
    async with run_flows(nodes, [spec(transport=Transport.TCP)], publish=events.append) as flows:
        await grown(nodes, "received", 300)
        add_rule(nodes, "b", f"tcp dport {PORT} reject with tcp reset")
        await grown(nodes, "sent", 300)
    (result,) = flows.results
    assert result.broken == "ECONNRESET"
    assert result.failed["ECONNRESET"] > 0
    assert result.identical is None
    assert result.continuity.interruptions[-1].lost == result.continuity.lost > 0
    assert [event.data["error"] for event in events if event.kind == "flow.broken"] == ["ECONNRESET"]


async def test_a_tcp_connection_that_is_refused_is_a_clear_error(nodes, events):
    add_rule(nodes, "b", f"tcp dport {PORT} reject with tcp reset")
    with pytest.raises(errors.FlowError, match=r"a-to-b, sender in a: cannot connect to .*refused"):
        async with run_flows(nodes, [spec(transport=Transport.TCP)], publish=events.append):
            pytest.fail("the flow started")


async def test_a_source_that_the_node_does_not_have_is_a_clear_error(nodes, events):
    elsewhere = spec(source_address=ADDRESSES["b"])
    with pytest.raises(errors.FlowError, match=r"a-to-b, sender in a: cannot send from .*::b"):
        async with run_flows(nodes, [elsewhere], publish=events.append):
            pytest.fail("the flow started")


async def test_a_port_that_is_taken_is_a_clear_error(nodes, events):
    with pytest.raises(errors.FlowError, match=r"(a-to-b|second), receiver in b: cannot receive on .*in use"):
        async with run_flows(nodes, [spec(), spec(name="second")], publish=events.append):
            pytest.fail("both flows started")


@pytest.mark.parametrize("transport", Transport)
async def test_a_receiver_that_is_gone_ends_the_flow_with_a_clear_error(nodes, events, transport):
    with pytest.raises(errors.FlowError, match="flow a-to-b, receiver in b: .*ended"):
        async with run_flows(nodes, [spec(transport=transport)], publish=events.append) as flows:
            await grown(nodes, "received", 200)
            os.kill(nodes.pid("nodes.traffic.receive", "a-to-b.received"), signal.SIGKILL)
            await anyio.sleep_forever()
    (result,) = flows.results
    assert result.continuity.received >= 200
    assert "receiver in b" in result.doubts[0]


async def test_what_a_killed_sender_sent_is_still_known(nodes, events):
    with pytest.raises(errors.FlowError, match="flow a-to-b, sender in a: .*ended"):
        async with run_flows(nodes, [spec()], publish=events.append) as flows:
            await grown(nodes, "sent", 200)
            os.kill(nodes.pid("nodes.traffic.send", "a-to-b.sent"), signal.SIGKILL)
            await anyio.sleep_forever()
    (result,) = flows.results
    assert result.continuity.sent >= 200
    assert result.cut_off is not None


async def test_a_body_that_fails_fails_as_itself_and_leaves_its_evidence(nodes, events):
    with pytest.raises(ZeroDivisionError):
        async with run_flows(nodes, [spec()], publish=events.append) as flows:
            await grown(nodes, "received", 200)
            raise ZeroDivisionError
    (result,) = flows.results
    assert result.continuity.received >= 200
    assert result.doubts == ("it was cut off",)


async def test_the_logs_belong_to_the_owner_of_the_run(nodes, events, monkeypatch):
    monkeypatch.setenv("HOPBED_OWNER", "65534")
    await run_counted(nodes, spec(count=10), events.append)
    for node, log in (("a", "a-to-b.sent"), ("b", "a-to-b.received")):
        assert (nodes.log_dir(node) / log).stat().st_uid == 65534


async def test_a_flow_name_serves_once_in_a_run(nodes, events):
    await run_counted(nodes, spec(count=10), events.append)
    with pytest.raises(errors.FlowError, match="exists; each flow of a run needs a name of its own"):
        await run_counted(nodes, spec(count=10), events.append)
