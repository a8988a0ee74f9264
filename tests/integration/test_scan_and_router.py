"""The scanner and the router, on a live testbed."""

import ipaddress
import re

import anyio
import pytest

from nodes import errors
from orchestrator.attacker import Scan, scan
from orchestrator.flows import FlowSpec, Transport, run_flows
from orchestrator.pytest_plugin import on_testbed
from orchestrator.router import Prefix, accept_advertisements, advertising

pytestmark = [pytest.mark.anyio, on_testbed("compose.yaml", nodes=("terminal-a", "host"))]

PREFIX = ipaddress.IPv6Network("fd00:1:2:3::/64")


async def test_a_scan_finds_the_open_port_and_who_is_there(testbed):
    victim = testbed.node("terminal-a").address
    nobody = str(ipaddress.IPv6Address(victim) + 0x1234)
    listening = FlowSpec(
        name="service",
        source="host",
        destination="terminal-a",
        source_address=testbed.plan.node("host").address.ip,
        destination_address=ipaddress.IPv6Address(victim),
        transport=Transport.TCP,
        port=7000,
    )
    async with run_flows(testbed.runtime, [listening], publish=testbed.events.publish):
        order = Scan(
            targets=(victim, nobody), tcp_ports=(22, 7000, 7001), udp_ports=(53,), addresses=(nobody,)
        )
        found = await scan(testbed.runtime, testbed.node("host"), order)
    assert found[victim].echo
    assert found[victim].tcp_open == [7000]
    assert (found[victim].tcp_closed, found[victim].udp_closed) == (2, 1)
    assert not found[nobody].alive


async def test_a_filtered_host_is_found_by_nothing(testbed):
    victim = testbed.node("terminal-a").address
    drop = (
        "add table ip6 f; add chain ip6 f in { type filter hook prerouting priority 0; }; "
        "add rule ip6 f in drop"
    )
    await testbed.node("terminal-a").exec(["nft", drop])
    found = await scan(
        testbed.runtime, testbed.node("host"), Scan(targets=(victim,), tcp_ports=(22,), udp_ports=(53,))
    )
    assert not found[victim].alive


async def test_an_order_out_of_range_is_a_clear_error(testbed):
    with pytest.raises(errors.ParameterError, match="patience"):
        await scan(testbed.runtime, testbed.node("host"), Scan(patience=0))


async def test_a_host_configures_the_advertised_prefix_with_its_lifetimes(testbed):
    terminal = testbed.node("terminal-a")
    watch = testbed.runtime.command("terminal-a", ["ip", "-6", "-o", "monitor", "address"])
    await accept_advertisements(terminal)
    async with (
        await anyio.open_process(watch) as monitor,
        advertising(testbed.runtime, testbed.node("host")) as router,
    ):
        try:
            with anyio.fail_after(20):
                heard = ""
                await router.advertise([Prefix(prefix=str(PREFIX), preferred=2, valid=4)])
                while "fd00:1:2:3:" not in heard:
                    heard += (await monitor.stdout.receive()).decode()
        finally:
            monitor.terminate()
    shown = (await terminal.exec(["ip", "-6", "-o", "address", "show", "dev", "eth0"])).stdout.decode()
    (line,) = [line for line in shown.splitlines() if "fd00:1:2:3:" in line]
    assert re.search(r"dynamic.*valid_lft [1-4]sec preferred_lft [0-2]sec", line), line
