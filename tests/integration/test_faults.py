"""Faults on IKE between two real charons: what each does, what it costs, and that nothing else is touched."""

import ipaddress
from contextlib import asynccontextmanager

import anyio
import pytest

from nodes import errors
from nodes.faults.detour import Nft
from nodes.faults.engine import APPLIED, MISSED, RELEASED
from nodes.peer.model import Rekey
from orchestrator.doctor import probes
from orchestrator.evidence.verdict import Outcome
from orchestrator.faults import checks_of, faults
from orchestrator.faults.engine import DIED, ENDED, STARTED
from orchestrator.flows import FlowSpec, Transport, run_flows
from orchestrator.pytest_plugin import on_testbed
from orchestrator.tasks import background
from orchestrator.tunnel import CHILD, CONNECTION, Settings, credentials, tunnel

pytestmark = [pytest.mark.anyio, pytest.mark.root, on_testbed("compose.yaml", nodes=("peer-a", "peer-b"))]

A, B = ENDS = ("peer-a", "peer-b")
RATE = 500
HEARD = 30.0
"""Seconds after which an event that was due is missing."""


class Tunnel:
    """A tunnel between the two peers, not yet negotiated."""

    def __init__(self, bed):
        self.bed = bed
        self.events = bed.events

    def peer(self, name):
        return self.bed.node(name).peer

    async def load(self, version):
        settings = Settings(version=version, child_rekey_time=0, ike_rekey_time=0)
        ends = tunnel(self.bed.plan, A, B, credentials(self.bed.plan, ENDS, "psk"), settings)
        await self.peer(A).load(ends.initiator)
        await self.peer(B).load(ends.responder)

    async def initiate(self):
        await self.peer(A).initiate(CONNECTION, CHILD)
        await self.events.wait_for("child-sa.installed", node=B, timeout=HEARD)

    async def rekey(self, by=A):
        since = len(self.events.past)
        new = await self.peer(by).rekey(Rekey(connection=CONNECTION, child=CHILD))
        await self.events.wait_for(
            "child-sa.rekeyed",
            node=B if by == A else A,
            where=lambda event: event.data["new"]["spi_out"] == new.new_spis[0],
            since=since,
            timeout=HEARD,
        )

    def faults(self, *rules, seed=1):
        return faults(self.bed.runtime, rules, self.events, ends=ENDS, seed=seed)

    @asynccontextmanager
    async def traffic(self):
        """UDP probes from A to B for the length of the context; its value then has the result."""
        a, b = (ipaddress.IPv6Address(self.bed.node(name).inner_address) for name in ENDS)
        spec = FlowSpec(
            name="probe",
            source=A,
            destination=B,
            source_address=a,
            destination_address=b,
            transport=Transport.UDP,
            rate=RATE,
        )
        found = []
        async with run_flows(self.bed.runtime, [spec], publish=self.events.publish) as flows:
            yield found
        found += [result.continuity for result in flows.results]

    async def ping(self, count):
        """So many echo requests through the tunnel, from A to B."""
        a, b = (self.bed.node(name).inner_address for name in ENDS)
        await self.bed.node(A).exec(["ping", "-q", "-c", str(count), "-i", "0.002", "-I", a, b])

    def said(self, kind):
        return [event for event in self.events.past if event.kind == kind]


@pytest.fixture
async def ikev1(testbed):
    there = Tunnel(testbed)
    await there.load(1)
    return there


@pytest.fixture
async def ikev2(testbed):
    there = Tunnel(testbed)
    await there.load(2)
    return there


async def rekey_under_traffic(there, *rules):
    """What one rekey by A loses of the probes from A to B."""
    await there.initiate()
    async with there.faults(*rules) as engine, there.traffic() as found:
        await anyio.sleep(0.2)  # the traffic's schedule, not a wait for something
        await there.rekey()
        await anyio.sleep(0.2)
    (continuity,) = found
    return continuity, engine


@pytest.mark.alone
async def test_a_dropped_quick_mode_3_costs_a_retransmission_timeout_of_charon(ikev1):
    continuity, engine = await rekey_under_traffic(ikev1, "drop quick-mode 3 from INITIATOR")
    # charon's default: retransmit_timeout 4.0 s; all that was sent in that time is lost. The sender's own
    # pauses are no part of the gap, so that a busy machine makes it shorter.
    assert 3500 <= continuity.longest_gap_ms <= 6000
    assert continuity.lost >= 1000
    assert engine.totals[0].matched == 1
    (applied,) = ikev1.said(APPLIED)
    assert (applied.node, applied.data["rule"]) == (A, "drop quick-mode 3 from peer-a")
    interruption = max(continuity.interruptions, key=lambda one: one.lost)
    assert abs(interruption.start_ns - applied.time_ns) < 1_000_000_000


@pytest.mark.alone
async def test_a_delayed_quick_mode_3_costs_its_delay(ikev1):
    continuity, _ = await rekey_under_traffic(ikev1, "delay quick-mode 3 by 500ms")
    assert 400 <= continuity.longest_gap_ms <= 2000
    assert continuity.lost >= 100
    (applied,), (released,) = ikev1.said(APPLIED), ikev1.said(RELEASED)
    assert released.time_ns - applied.time_ns >= 500_000_000


@pytest.mark.alone
async def test_without_a_fault_nothing_is_lost_but_what_stock_ikev1_itself_may_lose(ikev1):
    """The initiator uses the new SA at once; what overtakes its third message is lost."""
    continuity, engine = await rekey_under_traffic(ikev1)
    assert continuity.longest_gap_ms < 3500  # nothing had to be sent again
    assert checks_of(engine.totals, engine.died) == []
    assert not ikev1.said(STARTED)


async def test_a_dropped_response_of_an_ikev2_rekey_costs_nothing(ikev2):
    continuity, engine = await rekey_under_traffic(ikev2, "drop create-child-sa 2")
    assert continuity.lost == 0
    assert engine.totals[0].matched == 1
    assert [event.node for event in ikev2.said(APPLIED)] == [B]


async def test_a_rule_without_a_node_acts_once_although_both_ends_have_it(ikev1):
    await ikev1.initiate()
    async with ikev1.faults("drop quick-mode 1") as engine:
        await ikev1.rekey(by=A)
        await ikev1.rekey(by=B)
    assert engine.totals[0].matched == 1
    assert [event.node for event in ikev1.said(APPLIED)] == [A]


@pytest.mark.stock_kernel("kernel ESP", "nft queue")
async def test_a_duplicated_and_a_replayed_message_come_to_the_other_end_again(ikev2):
    rules = ["duplicate ike-sa-init 1", "replay create-child-sa 1 by 300ms"]
    async with ikev2.faults(*rules) as engine:
        await ikev2.initiate()
        await ikev2.rekey()
        await ikev2.events.wait_for(RELEASED, timeout=HEARD)
        # charon answers a request that comes again with the response that it gave
        await ikev2.events.wait_for("child-sa.rekeyed", node=A, timeout=HEARD)
    assert [total.matched for total in engine.totals] == [1, 1]
    assert not ikev2.said(MISSED)
    at_a, at_b = ({event.node: event for event in ikev2.said(ENDED)}[end].data for end in ENDS)
    # two copies came to B that A's queue, past which they are sent, has not seen
    assert at_b["incoming"] == at_a["outgoing"] + 2
    assert at_a["incoming"] == at_b["outgoing"]


@pytest.mark.stock_kernel("kernel ESP", "nft queue")
async def test_a_corrupted_message_reaches_the_daemon_which_refuses_it(ikev2):
    async with ikev2.faults("corrupt ike-auth 1 octet 60"):
        await ikev2.initiate()
    (applied,) = ikev2.said(APPLIED)
    counters = await ikev2.peer(B).counters()
    assert applied.data["octet"] == 60
    # a wrong UDP checksum would have ended in the kernel
    assert counters["invalid"] == 1


async def test_a_held_message_goes_on_at_the_event(ikev1):
    await ikev1.initiate()
    async with ikev1.faults("hold quick-mode 2 until testbed.release"), background() as tasks:
        rekeyed = anyio.Event()

        async def rekey():
            await ikev1.rekey()
            rekeyed.set()

        tasks.start_soon(rekey)
        await ikev1.events.wait_for(APPLIED, timeout=HEARD)
        assert not ikev1.said(RELEASED)
        ikev1.events.say("testbed.release")
        released = await ikev1.events.wait_for(RELEASED, timeout=HEARD)
        await rekeyed.wait()
    assert (released.node, released.data["event"]) == (B, "testbed.release")


async def test_a_rule_can_be_added_while_the_testbed_runs(ikev1):
    await ikev1.initiate()
    async with ikev1.faults() as engine:
        await ikev1.rekey()
        await engine.add("delay quick-mode 1 by 10ms")
        await ikev1.rekey()
        await engine.add("delay quick-mode 2 by 10ms")
        await ikev1.rekey()
        with pytest.raises(errors.ParameterError, match="can never act"):
            await engine.add("drop quick-mode 1")
    assert [total.matched for total in engine.totals] == [1, 1]


async def test_a_fault_that_can_never_match_says_so_when_the_run_ends(ikev2):
    async with ikev2.faults("drop quick-mode 3") as engine:
        await ikev2.initiate()
    check, _ = checks_of(engine.totals, engine.died)
    assert (check.measured, check.outcome) == ("matched 0 times", Outcome.INCONCLUSIVE)


async def test_the_same_seed_gives_the_same_faults(ikev2):
    found = set()
    for _ in range(3):
        since = len(ikev2.said(APPLIED))
        async with ikev2.faults("corrupt create-child-sa 1", "delay create-child-sa 2 by 5ms", seed=42):
            if since == 0:
                await ikev2.initiate()
            with anyio.fail_after(HEARD):
                await ikev2.rekey()
        applied = ikev2.said(APPLIED)[since:]
        found.add(tuple((one.node, one.data["message"], one.data.get("octet")) for one in applied))
    assert len(found) == 1


@pytest.mark.stock_kernel("kernel ESP", "nft queue")
async def test_when_an_engine_dies_ike_passes_and_the_verdict_is_told(ikev1):
    await ikev1.initiate()
    async with ikev1.faults("drop quick-mode 1 with retransmissions always from peer-a") as engine:
        pid = engine.pid(A)
        await ikev1.bed.node(A).exec(["kill", "-KILL", str(pid)])
        died = await ikev1.events.wait_for(DIED, node=A, timeout=HEARD)
        await ikev1.rekey()
        assert engine.pid(A) is None
    assert died.data["text"]
    assert checks_of(engine.totals, engine.died)[-1].outcome is Outcome.INCONCLUSIVE
    # what it left behind harms nobody, and another engine takes its place
    async with ikev1.faults("delay quick-mode 1 by 10ms from peer-a") as again:
        await ikev1.rekey()
    assert again.totals[0].matched == 1
    assert "hopbed" not in await rules_in(ikev1.bed.node(A))


async def rules_in(node):
    """Every rule of nft and of xtables in a node."""
    shown = await node.exec(["sh", "-c", "nft list ruleset; ip6tables-save"])
    return shown.stdout.decode()


@pytest.mark.stock_kernel("kernel ESP", "nft queue")
async def test_no_esp_packet_takes_the_detour(ikev1):
    await ikev1.initiate()
    rules = ("drop informational always", "delay quick-mode 3 always by 1ms")
    async with ikev1.faults(*rules):
        await ikev1.ping(200)
        await ikev1.rekey()
        await ikev1.ping(200)
    for ended in ikev1.said(ENDED):
        assert ended.data["foreign"] == 0
        assert 0 < ended.data["outgoing"] + ended.data["incoming"] < 10


@pytest.mark.stock_kernel("nft queue")
async def test_nft_leads_ike_into_the_queue_where_this_kernel_lets_it(ikev1):
    async with ikev1.faults("drop quick-mode 3 from INITIATOR"):
        (started,) = ikev1.said(STARTED)
    assert (started.data["queue"] == Nft().name) == (await probes.nft_queue()).present


async def test_there_is_one_engine_a_node(ikev1):
    async with ikev1.faults("drop quick-mode 3"):
        with pytest.raises(errors.NodeError, match="at work in this node already"):
            async with ikev1.faults("drop quick-mode 2"):
                pass


async def test_a_rule_that_is_none_starts_nothing(ikev1):
    with pytest.raises(errors.ParameterError, match=r"\^"):
        async with ikev1.faults("drop quick-mode 3 from terminal-a"):
            pass
    assert not ikev1.said(STARTED)
    assert "hopbed" not in await rules_in(ikev1.bed.node(A))
