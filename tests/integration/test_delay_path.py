"""A path with a round-trip time, on a live testbed: calibrated against what the probes and ping measure."""

import re
import subprocess

import anyio
import pytest
from machine import EMULATED

from nodes import errors
from orchestrator.continuity import read_received
from orchestrator.delay_path import delayed_path
from orchestrator.flows import FlowSpec, Transport, run_flows
from orchestrator.pytest_plugin import on_testbed

pytestmark = [pytest.mark.anyio, on_testbed("compose.yaml", nodes=("terminal-a", "terminal-b", "host"))]

HAS_NETEM = (
    "unshare --net sh -c 'ip link add type veth && tc qdisc add dev veth0 root netem limit 1' 2>/dev/null"
)
NEAR, FAR = "terminal-a", "terminal-b"
ROUND_TRIP_MS = 40.0
LARGE = "8M" if EMULATED else "64M"


@pytest.fixture(params=["forwarder", pytest.param("netem", marks=pytest.mark.stock_kernel("netem"))])
def by(request):
    if request.param == "netem" and subprocess.run(["sh", "-c", HAS_NETEM], check=False).returncode:
        pytest.skip("this kernel has no netem")
    return request.param


async def round_trips(bed, to=FAR, *, count=20):
    argv = ["ping", "-n", "-c", str(count), "-i", "0.01", "-W", "2", bed.node(to).address]
    done = await bed.node(NEAR).exec(argv, check=False)
    return [float(found) for found in re.findall(r"time=([0-9.]+)", done.stdout.decode())]


def flow(bed, name, transport, **changes):
    values = {
        "name": name,
        "source": NEAR,
        "destination": FAR,
        "source_address": bed.plan.node(NEAR).address.ip,
        "destination_address": bed.plan.node(FAR).address.ip,
        "transport": transport,
    }
    return FlowSpec(**(values | changes))


async def test_a_round_trip_takes_what_was_asked_for_and_no_longer_afterwards(testbed, by):
    async with delayed_path(testbed.runtime, FAR, ROUND_TRIP_MS / 1e3, testbed.events.publish, by=by) as used:
        assert used == by
        found = (await round_trips(testbed))[1:]  # the first one asks for the neighbour, too
        # A busy machine adds what it likes to most of them; a path that delays twice, the same to the best.
        assert ROUND_TRIP_MS <= min(found) < 2 * ROUND_TRIP_MS
        assert min(await round_trips(testbed, "host")) < ROUND_TRIP_MS / 2
    assert min(await round_trips(testbed)) < ROUND_TRIP_MS / 2
    restored = testbed.events.past[-1]
    assert (restored.kind, restored.data.get("dropped", 0)) == ("path.restored", 0)


async def test_each_way_takes_half_and_nothing_is_lost_at_the_rates_of_a_comparison(testbed, by):
    udp = flow(testbed, "udp-a-b", Transport.UDP, rate=1000, count=2000)
    bulk = flow(testbed, "bulk-a-b", Transport.TCP, rate=1000, size=2500, count=2000)
    specs = [udp, udp.reverse("udp-b-a"), bulk, bulk.reverse("bulk-b-a")]
    async with delayed_path(testbed.runtime, FAR, ROUND_TRIP_MS / 1e3, testbed.events.publish, by=by):
        await round_trips(testbed, count=1)
        async with run_flows(testbed.runtime, specs, publish=testbed.events.publish) as flows:
            await flows.wait_sent()
    for result in flows.results:
        found = result.continuity
        assert (found.lost, result.doubts) == (0, ()), result.spec.name
        assert found.delay.p50_ms >= ROUND_TRIP_MS / 2
        if result.spec.transport is Transport.UDP:
            received = read_received(result.received_log)
            assert (received.received_ns - received.sent_ns).min() / 1e6 < ROUND_TRIP_MS


async def test_a_large_transfer_passes_unchanged(testbed, by):
    """Frames with segments that are not cut and checksums that are not computed yet."""
    serve = ["sh", "-c", "exec iperf3 --server --one-off --json >/dev/null"]
    client = ["iperf3", "--client", testbed.node(FAR).address, "--bytes", LARGE, "--connect-timeout", "2000"]
    async with (
        delayed_path(testbed.runtime, FAR, 0.002, testbed.events.publish, by=by),
        await anyio.open_process(testbed.runtime.command(FAR, serve)) as server,
    ):
        try:
            with anyio.fail_after(60):
                while (done := await testbed.node(NEAR).exec(client, check=False)).returncode:
                    assert b"refused" in done.stdout + done.stderr  # it does not listen yet
                await server.wait()
        finally:
            if server.returncode is None:
                server.terminate()


async def test_a_time_out_of_range_starts_nothing(testbed):
    with pytest.raises(errors.ParameterError, match="round-trip"):
        async with delayed_path(testbed.runtime, FAR, 0, testbed.events.publish):
            pass


async def test_a_path_can_be_delayed_once(testbed):
    publish = testbed.events.publish
    async with delayed_path(testbed.runtime, FAR, 0.01, publish, by="forwarder"):
        with pytest.raises(errors.NodeError, match="delayed already"):
            async with delayed_path(testbed.runtime, FAR, 0.01, publish, by="forwarder"):
                pass
    assert await round_trips(testbed)
