"""The other mechanisms that keep a connection while its address changes: kernel MPTCP, and QUIC migration."""

import ipaddress

import anyio
import msgspec
import pytest

from nodes import INTERFACE
from nodes.address_changes import AddressChanges
from orchestrator.flows import FlowSpec, Transport, run_flows
from orchestrator.program import run_program
from orchestrator.pytest_plugin import on_testbed

pytestmark = pytest.mark.anyio

MOVING, FIXED = "terminal-a", "terminal-b"


def spec(bed, transport, **changes):
    values = {
        "name": f"{transport}-a-b",
        "source": MOVING,
        "destination": FIXED,
        "source_address": bed.plan.node(MOVING).address.ip,
        "destination_address": bed.plan.node(FIXED).address.ip,
        "transport": transport,
        "rate": 200,
        "congestion": "reno",
    }
    return FlowSpec(**(values | changes))


def seconds(bed, count):
    first = bed.plan.node(MOVING).address
    return tuple(f"{ipaddress.IPv6Address(int(first.ip) + 0x1_0000 + n)}/64" for n in range(count))


async def moved(bed, transport, changes=3, **settings):
    """The result of a flow whose source's address changes meanwhile, and what was said of the changes."""
    said = []
    last_change = anyio.Event()

    def hear(event):
        said.append(event)
        if sum(one.kind == "address.removed" for one in said) == changes:
            last_change.set()

    order = AddressChanges(
        interface=INTERFACE,
        first=str(bed.plan.node(MOVING).address),
        seconds=seconds(bed, changes),
        period=0.6,
        overlap=0.3,
        mptcp=1 if transport is Transport.MPTCP else 0,
    )
    if transport is Transport.MPTCP:
        await bed.node(FIXED).exec(
            ["ip", "mptcp", "limits", "set", "subflows", "8", "add_addr_accepted", "8"]
        )
    argv = [*bed.runtime.python, "-m", "nodes.address_changes", msgspec.json.encode(order).decode()]
    one = spec(bed, transport, **settings)
    async with run_flows(bed.runtime, [one], publish=bed.events.publish) as flows:
        command = bed.runtime.command(MOVING, argv)
        async with run_program("address changes", command, on_event=hear) as program:
            with anyio.fail_after(20):
                await last_change.wait()
            await anyio.sleep(0.3)  # some more traffic from the last address
            done = await program.stop()
    assert done.data["changed"] == changes
    return flows.results[0], said


@on_testbed("compose.yaml", nodes=(MOVING, FIXED))
async def test_a_quic_client_migrates_to_every_address_and_loses_nothing(testbed):
    result, _ = await moved(testbed, Transport.QUIC)
    assert (result.migrations, result.congestion) == (3, "reno")
    assert (result.continuity.lost, result.identical, result.doubts) == (0, True, ())


@on_testbed("compose.yaml", nodes=(MOVING, FIXED))
async def test_mptcp_makes_a_subflow_before_it_breaks_the_old_one_and_loses_nothing(testbed):
    result, said = await moved(testbed, Transport.MPTCP)
    made = [event.data["established"] for event in said if event.kind == "mptcp.subflows"]
    assert made == [1, 1, 1]
    assert (result.fallback, result.congestion) == (False, "reno")
    assert (result.continuity.lost, result.identical, result.doubts) == (0, True, ())


@on_testbed("compose.yaml", nodes=(MOVING, FIXED))
async def test_a_plain_connection_stalls_for_good_when_its_address_goes(testbed):
    result, said = await moved(testbed, Transport.TCP, changes=1)
    removed = next(event for event in said if event.kind == "address.removed")
    assert result.continuity.lost > 0
    assert result.continuity.interruptions[-1].start_ns <= removed.time_ns + 250_000_000
