"""What becomes of services that cannot hop, and what is refused: each keeps its first address."""

import re
from contextlib import asynccontextmanager

import anyio
import pytest
from two_terminals import (
    HEARD,
    SECRET,
    A,
    B,
    assert_whole,
    hops_done,
    line,
    other_prefixes,
    outcomes,
    pair,
    said,
    sh,
    terminals,
    traffic,
)

from nodes import errors
from nodes.terminal import model
from orchestrator.topology.plan import Dad

pytestmark = pytest.mark.anyio


async def stays(bed):
    """Hop from A under traffic: nothing is lost, and the first address is kept, deprecated."""
    first = bed.node(A).address
    async with traffic(bed, both=False) as flows:
        hopped = await bed.node(A).terminal.hop()
        await anyio.sleep(0.2)
        status = await bed.node(A).terminal.status()
    assert_whole(flows)
    assert not hopped.retired
    kept = {one.address: one for one in status.addresses}[first]
    assert kept.state == "deprecated"
    assert 0 < kept.valid <= 600
    assert all(one.wire.startswith(f"{first} ") for one in status.flows)
    return hopped


async def test_a_legacy_partners_kernel_says_itself_that_it_does_not_know_the_option():
    async with terminals(paired=False) as bed:
        await bed.node(A).terminal.pair(
            model.Pair(partner=B, secret=SECRET, addresses=(bed.node(B).address,))
        )
        hopped = await stays(bed)
        assert hopped.outcomes == {"not-recognised": 2}
        before = await sh(bed, B, "nstat -az Icmp6OutParmProblems | tail -1")
        assert int(float(before.split()[1])) > 0


async def test_a_silent_partner_gives_no_answer():
    async with terminals() as bed:
        await bed.node(B).terminal.policy(model.SetPolicy(silent=True))
        assert (await stays(bed)).outcomes == {"no-answer": 2}


async def test_a_partner_refuses_by_its_policy():
    async with terminals() as bed:
        await bed.node(B).terminal.policy(model.SetPolicy(otherwise=False))
        assert (await stays(bed)).outcomes == {"refused": 2}


async def test_a_partner_with_another_secret_does_not_answer_and_is_not_answered():
    async with terminals(paired=False) as bed:
        await pair(bed, secrets=("one secret of theirs", "another secret of theirs"))
        assert (await stays(bed)).outcomes == {"no-answer": 2}


async def test_a_service_that_ends_before_is_not_asked_about():
    async with terminals() as bed:
        async with traffic(bed, both=False):
            await bed.node(A).terminal.schedule(model.Schedule(hops=1, preferred=6, valid=8))
            await anyio.sleep(0.3)
        await hops_done(bed)
        (closed,) = said(bed, "hop.closed", A)
        assert set(closed.data["outcomes"]) == {"ended-before"}
        assert all(one.data["services"] == 0 for one in said(bed, "hop.asked", A))


async def test_sockets_that_stay_beyond_the_maximum_are_closed_and_it_is_said():
    server = (
        "import socket; s = socket.create_server(('::', 7000), family=socket.AF_INET6); s.accept()[0].recv(1)"
    )
    client = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], 7000)); print('here', flush=True)\n"
        "try: s.recv(1)\nexcept OSError as error: print(error.strerror)"
    )
    async with terminals() as bed:
        await bed.node(B).terminal.policy(model.SetPolicy(otherwise=False))
        async with program(bed, B, server), program(bed, A, client, bed.node(B).address) as connected:
            assert await line(connected) == "here"
            hopped = await bed.node(A).terminal.hop(model.Hop(keep=1.0))
            assert hopped.outcomes == {"refused": 1}
            closed = await bed.events.wait_for("sockets.closed", node=A, timeout=HEARD)
            assert closed.data["found"] is True
            assert await line(connected) == "Software caused connection abort"
            await bed.events.wait_for("service.closed", node=A, timeout=HEARD)


@asynccontextmanager
async def program(bed, node, source, *arguments):
    """A program of a few lines in a node; it is tried again until it stays, for its server may be later."""
    command = bed.runtime.command(node, [*bed.runtime.python, "-c", f"{RETRY}{source!r})", *arguments])
    process = await anyio.open_process(command)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()


RETRY = """
import sys, time
def run(source):
    for _ in range(100):
        try:
            return exec(source, {})
        except ConnectionRefusedError:
            time.sleep(0.05)
run("""


# bad input


async def refused(bed, text, call):
    with pytest.raises(errors.ParameterError, match=text):
        await call
    assert not said(bed, "hop.started", A)


async def test_what_leaves_no_room_for_a_hop_or_nobody_could_answer_is_refused_before_anything_starts():
    async with terminals(paired=False) as bed:
        terminal = bed.node(A).terminal
        await refused(bed, "no secret is shared", terminal.hop())
        await refused(bed, "no secret is shared", terminal.schedule(model.Schedule(period=1.0)))
        await pair(bed)
        await refused(bed, "leave 0 s for a hop", terminal.schedule(model.Schedule(preferred=2, valid=2)))
        await refused(bed, "shorter than a hop can take", terminal.schedule(model.Schedule(period=0.001)))
        (prefix,) = other_prefixes(bed, 1)
        lost = model.Schedule(period=1.0, kind="prefix", prefixes=(prefix,))
        await refused(bed, f"{re.escape(prefix)} is not on the link", terminal.schedule(lost))
        await refused(bed, "is no address of this node", terminal.hop(model.Hop(first="fd00::1")))
        with pytest.raises(errors.ParameterError, match="secret"):
            await terminal.pair(model.Pair(partner=B, secret="short", addresses=(bed.node(B).address,)))


async def test_an_exhausted_pool_is_an_event_and_the_services_stay_where_they_are():
    async with terminals() as bed:
        async with traffic(bed) as flows:
            await bed.node(A).terminal.schedule(model.Schedule(hops=5, period=0.2, pool=2))
            failed = await bed.events.wait_for("hop.failed", node=A, timeout=HEARD)
            await anyio.sleep(0.3)
            status = await bed.node(A).terminal.status()
        assert_whole(flows)
        assert "exhausted" in failed.data["reason"]
        assert len(said(bed, "hop.closed", A)) == 2
        assert [(one.address, one.state) for one in status.addresses] == [(failed.data["first"], "preferred")]


DEFENDER = """
# answers every probe of duplicate address detection, as a node would that has the address already
import socket
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import Ether
frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD))
frames.bind(("eth0", 0))
mine = "02:00:00:00:0d:ad"
print("here", flush=True)
while True:
    frame, (_, _, kind, _, _) = frames.recvfrom(2000)
    if kind == 4 or frame[20] != 58 or frame[54] != 135:
        continue
    packet = Ether(frame)
    if packet[IPv6].src == "::":
        target = packet[ICMPv6ND_NS].tgt
        answer = IPv6(src=target, dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=target, R=0, S=0, O=1)
        link = ICMPv6NDOptDstLLAddr(lladdr=mine)
        frames.send(bytes(Ether(src=mine, dst="33:33:00:00:00:01") / answer / link))
"""


async def test_second_addresses_that_are_in_use_already_are_an_event_and_the_first_goes_on():
    async with terminals(dad=Dad.FULL) as bed, program(bed, B, DEFENDER) as defender:
        assert await line(defender) == "here"
        async with traffic(bed) as flows:
            with pytest.raises(errors.NodeError, match="in use already"):
                await bed.node(A).terminal.hop()
            status = await bed.node(A).terminal.status()
        assert_whole(flows)
        assert [one.address for one in status.addresses] == [bed.node(A).address]
        reasons = [one.data["reason"] for one in said(bed, "hop.address-refused", A)]
        assert reasons == ["duplicate"] * 4


@pytest.mark.parametrize("dad", [Dad.OPTIMISTIC, Dad.FULL])
async def test_a_hop_waits_for_duplicate_address_detection(dad):
    async with terminals(dad=dad) as bed:
        async with traffic(bed) as flows:
            hopped = await bed.node(A).terminal.hop()
        assert_whole(flows)
        assert hopped.outcomes == {"hopped": 3}
        assert set(outcomes(bed)) == {"hopped"}
        assert (hopped.phases_ms["ready"] > 900) == (dad is Dad.FULL)
