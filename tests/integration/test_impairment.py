"""Bad links, on a live testbed."""

import re
import subprocess

import anyio
import pytest

from nodes import errors
from orchestrator.impairment import ENDED, LINK_DOWN, LINK_UP, Impairment, impaired, link_down
from orchestrator.pytest_plugin import on_testbed

pytestmark = [pytest.mark.anyio, pytest.mark.root, on_testbed("compose.yaml", nodes=("terminal-a", "host"))]

HAS_NETEM = (
    "unshare --net sh -c 'ip link add type veth && tc qdisc add dev veth0 root netem limit 1' 2>/dev/null"
)


@pytest.fixture(scope="module")
def has_netem():
    return subprocess.run(["sh", "-c", HAS_NETEM], check=False).returncode == 0


async def ping(bed, *, count=1):
    """Round trips from the terminal to the host, in ms."""
    argv = ["ping", "-n", "-c", str(count), "-i", "0.01", "-W", "3", bed.node("host").address]
    done = await bed.node("terminal-a").exec(argv, check=False)
    return [float(found) for found in re.findall(r"time=([0-9.]+)", done.stdout.decode())]


async def has_carrier(bed):
    shown = await bed.node("host").exec(["ip", "link", "show", "dev", "eth0"])
    return "LOWER_UP" in shown.stdout.decode() and "NO-CARRIER" not in shown.stdout.decode()


async def addresses(bed):
    shown = await bed.node("host").exec(["ip", "-6", "-br", "address", "show", "dev", "eth0"])
    return shown.stdout.decode().split()[2:]


async def test_a_link_that_is_down_carries_nothing_and_leaves_the_addresses(testbed):
    before = await addresses(testbed)
    assert await ping(testbed)
    async with link_down(testbed.runtime, "host", testbed.events.publish):
        assert not await has_carrier(testbed)
        assert await addresses(testbed) == before
        assert await ping(testbed) == []
    assert await has_carrier(testbed)
    assert await ping(testbed)
    down, up = [event for event in testbed.events.past if event.kind in (LINK_DOWN, LINK_UP)]
    assert [(down.kind, down.node), (up.kind, up.node)] == [(LINK_DOWN, "host"), (LINK_UP, "host")]
    assert up.data["carrier"] is True


async def test_a_link_comes_up_again_when_its_context_is_cancelled(testbed):
    with anyio.CancelScope() as scope:
        async with link_down(testbed.runtime, "host", testbed.events.publish):
            scope.cancel()
            await anyio.sleep_forever()
    assert await ping(testbed)


@pytest.mark.stock_kernel("netem")
async def test_an_impairment_does_what_it_says_or_this_kernel_cannot_and_says_so(testbed, has_netem):
    delay = Impairment(delay=0.05)
    publish = testbed.events.publish
    if not has_netem:
        with pytest.raises(errors.MachineError, match="this kernel has no netem.*modprobe sch_netem"):
            async with impaired(testbed.runtime, "terminal-a", delay, publish):
                pass
        assert await ping(testbed)
        return
    async with impaired(testbed.runtime, "terminal-a", delay, publish):
        assert min(await ping(testbed, count=5)) >= 50
    assert min(await ping(testbed, count=5)) < 50
    async with impaired(testbed.runtime, "terminal-a", Impairment(loss=1), publish):
        assert await ping(testbed) == []
    assert await ping(testbed)
    delayed, lost = [event.data for event in testbed.events.past if event.kind == ENDED]
    assert delayed["lost"] == 0
    assert lost["lost"] >= 1


async def test_an_impairment_that_is_none_starts_nothing(testbed):
    with pytest.raises(errors.ParameterError, match="loss"):
        async with impaired(testbed.runtime, "host", Impairment(loss=7), testbed.events.publish):
            pass
