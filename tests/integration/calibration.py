"""Injects known gaps into flows of a live testbed; says by the kernel's own stamps what was injected."""

import itertools
import json

from orchestrator.capture.captures import capture
from orchestrator.capture.classify import classify
from orchestrator.capture.pcapng import read_file
from orchestrator.continuity import read_sent
from orchestrator.flows import FlowSpec, Transport
from orchestrator.reconciliation import reconcile
from orchestrator.reconciliation.datagrams import Datagrams
from orchestrator.scenarios.flow_evidence import doubts, flow_verdict
from orchestrator.scenarios.stage import Stage

SOURCE, DESTINATION = "terminal-a", "terminal-b"
PORT = 7000
RATE = 1000
INTERVAL_MS = 1000 / RATE

# A probe in UDP: header of 8 octets, flow id of 8, number of 8; these are the low 32 bits of the number.
_NUMBER = "@th,160,32"

_LINK_DOWN = """
import json, subprocess, sys, time
address, seconds = sys.argv[1:]
said = {}
def ip(*words):
    subprocess.run(["ip", *words], check=True)
def counted():
    links = json.loads(subprocess.run(["ip", "-json", "-stats", "link", "show", "eth0"],
                                      capture_output=True, check=True).stdout)
    return links[0]["stats64"]["tx"]["packets"]
ip("link", "set", "eth0", "down")
said["down_ns"] = time.monotonic_ns()
said["tx_down"] = counted()
ip("-6", "address", "replace", address, "dev", "eth0", "nodad")
time.sleep(float(seconds))
said["tx_up"] = counted()
said["up_ns"] = time.monotonic_ns()
ip("link", "set", "eth0", "up")
print(json.dumps(said))
"""


class Bench:
    """A testbed to calibrate with; flows run as in a scenario."""

    def __init__(self, bed, folder):
        self.bed = bed
        self.stage = Stage(bed, seed=1)
        self.captures = None
        self._folder = folder
        (folder / "captures").mkdir()

    def spec(self, name, **changes):
        there, back = (self.bed.plan.node(node).address.ip for node in (SOURCE, DESTINATION))
        values = {
            "source": SOURCE,
            "destination": DESTINATION,
            "source_address": there,
            "destination_address": back,
            "rate": RATE,
            "port": PORT,
        }
        return FlowSpec(name=name, **(values | changes))

    async def run(self, specs, meanwhile=None, places=(SOURCE, DESTINATION)):
        """Run flows to their end, under capture; their verdicts, by name."""
        folder = self._folder / "captures"
        runtime, publish = self.bed.runtime, self.bed.events.publish
        async with (
            capture(runtime, places, publish, folder=folder) as self.captures,
            self.stage.traffic(specs) as flows,
        ):
            if meanwhile is not None:
                await meanwhile()
            await flows.wait_sent()
        assert not [doubt for flow in self.stage.flows for doubt in doubts(flow)]
        self._reconciled = reconcile(self.stage.flows, self._folder, self.captures.files)
        return {
            flow.spec.name: flow_verdict(flow, self.bed.events.past, origin_ns=0)
            for flow in self._reconciled.flows
        }

    def agreement(self):
        """What the reconciliation says of each flow."""
        return {check.name.split(": ")[1]: check for check in self._reconciled.checks}

    async def drop(self, numbers):
        """Have the destination's kernel drop these probes of the next flow; ``dropped`` then counts them."""
        rule = f"udp dport {PORT} {_NUMBER} {{ {numbers} }} counter drop"
        await self._nft(
            "add table ip6 gaps; add chain ip6 gaps in { type filter hook prerouting priority 0; }; "
            f"add rule ip6 gaps in {rule}"
        )

    async def dropped(self):
        """The kernel's count of the probes that it dropped."""
        listed = json.loads((await self._nft("-j", "list chain ip6 gaps in")).stdout)
        rule = next(entry["rule"] for entry in listed["nftables"] if "rule" in entry)
        return next(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)

    async def _nft(self, *words):
        return await self.bed.node(DESTINATION).exec(["nft", *words])

    async def link_down(self, seconds):
        """Take the source's link down for so long, and up again; when, and what its kernel sent meanwhile."""
        node = self.bed.plan.node(SOURCE)
        argv = [*self.bed.runtime.python, "-c", _LINK_DOWN, str(node.address), str(seconds)]
        return json.loads((await self.bed.node(SOURCE).exec(argv)).stdout)

    def injected_ms(self, first, last, flow=0):
        """How long a loss of probes ``first`` to ``last`` was, by the kernel's stamps at the destination.

        The time in its capture from the arrival before to the one after, less what the sender's schedule and
        its pauses before and after the loss explain.
        """
        sent = self._departures(flow)
        arrived = self._seen(DESTINATION, flow)
        before, after = first - 1, last + 1
        explained = (sent[first] - sent[before]) + (sent[after] - sent[last])
        return (arrived[after] - arrived[before] - explained) / 1e6 + INTERVAL_MS

    def holes(self, flow=0):
        """First and last number of each run of probes that the destination's capture does not have."""
        pairs = itertools.pairwise(sorted(self._seen(DESTINATION, flow)))
        return [(number + 1, later - 1) for number, later in pairs if later > number + 1]

    def next_departure_ms(self, moment_ns, flow=0):
        """When the first probe after a moment left the sender; it may have been kept from its processor."""
        return min(left for left in self._departures(flow).values() if left > moment_ns) / 1e6

    def _departures(self, flow):
        """When each probe left the sender, in ns, by its number.

        A sender may lose its processor between a probe's stamp and its sending: that is a pause of its own.
        So its kernel's stamp counts, unless the call was over before: then the kernel held the probe.
        """
        log = read_sent(self.stage.flows[flow].sent_log)
        returned = dict(zip(log.sequence.tolist(), log.returned_ns.tolist(), strict=True))
        seen = self._seen(SOURCE, flow)
        return {number: min(late, seen.get(number, late)) for number, late in returned.items()}

    def _seen(self, place, flow):
        """When each probe was in a place's capture, in ns, by its number."""
        result = self.stage.flows[flow]
        file = self.captures.files[place]
        packets = read_file(self._folder / file.file)
        times_ns = packets.time_ns - file.clock_offset_ns
        seen = Datagrams(packets, classify(packets), times_ns).of(
            read_sent(result.sent_log), result.spec.size
        )
        return dict(zip(seen.position.tolist(), seen.time_ns.tolist(), strict=True))


def undisturbed(bench, seconds):
    """Every transport, both ways, for so long; QUIC more slowly, for it is Python that does its work."""
    specs = []
    for number, transport in enumerate(Transport):
        rate = RATE // 10 if transport is Transport.QUIC else RATE
        there = bench.spec(
            f"{transport}-there", transport=transport, rate=rate, count=rate * seconds, port=PORT + number
        )
        specs += [there, there.reverse(f"{transport}-back")]
    return specs
