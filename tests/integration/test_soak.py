"""Hops, rekeys, failures and faults at once: the short form of the half hour that ``make soak`` takes."""

import json

import anyio
import pytest

from nodes.errors import NodeError
from orchestrator.events import EventStream
from orchestrator.evidence.verdict import Outcome
from orchestrator.resources.flatness import FEWEST, flatness
from orchestrator.resources.sampling import sampled
from orchestrator.resources.series import series_of
from orchestrator.scenarios.runner import Run, run
from orchestrator.scenarios.soak import SCENARIO
from orchestrator.testbed import Testbed

DAEMONS = {
    ("terminal-a", "nodes.terminal"),
    ("peer-a", "charon"),
    ("peer-a", "nodes.peer.guard"),
    ("endpoint", "nodes.esp"),
    ("endpoint-b", "nodes.faults"),
}
FIGURES = {"processes", "descriptors", "threads", "interfaces", "addresses", "nft objects", "CHILD_SAs"}


RUNTIMES = ["namespaces", pytest.param("docker", marks=pytest.mark.docker)]


@pytest.fixture(scope="module", params=RUNTIMES)
def soaked(request, tmp_path_factory):
    """A short soak in each runtime: its verdict, and its evidence."""
    out = tmp_path_factory.mktemp("soak") / "e"
    asked = Run(
        scenario=SCENARIO,
        parameters=SCENARIO.validate({"minutes": 0.2, "look": 0.5}),
        out=out,
        seed=1,
        command=("hopbed", "run", "soak", "--seed", "1"),
        runtime=request.param,
    )
    return anyio.run(run, asked, EventStream()), out


def test_everything_at_once_goes_on_and_nothing_that_can_be_told_so_soon_grows(soaked):
    verdict, _ = soaked
    assert verdict.outcome is Outcome.PASS, [one for one in verdict.checks if one.outcome is not Outcome.PASS]
    judged = {check.name for check in verdict.checks if "second half" in str(check.expected)}
    assert judged >= {f"flat: {figure}" for figure in FIGURES}


def test_every_node_its_daemons_and_the_orchestrator_are_sampled(soaked):
    verdict, out = soaked
    lines = (out / "timeline.jsonl").read_text().splitlines()
    samples = [event for event in map(json.loads, lines) if event["kind"] == "resources.sample"]
    programs = {(event["node"], name) for event in samples for name in event["data"]["programs"]}
    beside = {"namespaces": "supervisor", "docker": "watcher"}[verdict.runtime]
    assert {node for node, _ in programs} == {"", *SCENARIO.nodes}
    assert programs >= {*DAEMONS, ("", "orchestrator"), ("", beside)}


def test_the_report_draws_the_curves(soaked):
    page = (soaked[1] / "report.html").read_text()
    assert 'id="resources"' in page
    assert "<polyline" in page


@pytest.mark.anyio
async def test_descriptors_that_leak_in_a_node_are_found():
    leak = "import time\nfiles = []\nwhile True: files.append(open('/dev/null')); time.sleep(0.1)"
    async with Testbed.from_compose("compose.yaml", runtime="namespaces", nodes=("host",)) as bed:
        command = bed.runtime.command("host", ["python3", "-c", leak])
        async with sampled(bed, 0.2), await anyio.open_process(command) as process:
            samples = 0
            while samples < 2 * 2 * FEWEST:
                await bed.events.wait_for("resources.sample", node="host", since=len(bed.events.past))
                samples += 1
            process.kill()
        [descriptors] = [
            one for one in flatness(series_of(bed.events.past)) if one.name == "flat: descriptors"
        ]
    assert descriptors.outcome is Outcome.FAIL
    assert "host python3" in str(descriptors.measured["grown"])


@pytest.mark.anyio
async def test_a_sampler_that_ends_by_itself_is_an_error_and_not_a_flat_line():
    async with Testbed.from_compose("compose.yaml", runtime="namespaces", nodes=("host",)) as bed:
        with pytest.raises(NodeError, match="resources of host"):
            async with sampled(bed, 0.2):
                shown = (await bed.node("host").exec(["ps", "-e", "-o", "pid=,args="])).stdout.decode()
                # between fork and exec a command of the sampler's is called like it
                pids = [int(line.split()[0]) for line in shown.splitlines() if "-m nodes.resources" in line]
                await bed.node("host").exec(["kill", str(min(pids))])
                await anyio.sleep_forever()
