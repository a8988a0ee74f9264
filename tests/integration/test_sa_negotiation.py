"""The scenario sa-negotiation: what stock timing loses and early timing does not, in short forms."""

import json

import pytest
from machine import EMULATED, hopbed

from nodes.events import Event
from orchestrator.doctor import probes
from orchestrator.evidence.read import read_evidence
from orchestrator.evidence.timeline import read_timeline
from orchestrator.evidence.verdict import Outcome
from orchestrator.report.sa_lines import sa_lines
from orchestrator.runtimes.choose import find_run, runtime_type
from orchestrator.testbed import attach
from orchestrator.tunnel import CHILD, CONNECTION, Settings, at_endpoint, credentials, tunnel

pytestmark = pytest.mark.anyio

CHARONS_FIRST_RETRANSMISSION_S = 4.0
RATE = 50 if EMULATED else 200


in_both_runtimes = pytest.mark.parametrize(
    "runtime", ["namespaces", pytest.param("docker", marks=pytest.mark.docker)]
)


@pytest.fixture
def runtime():
    """Namespaces, where a test does not say otherwise."""
    return "namespaces"


@pytest.fixture
def negotiate(play, tmp_path):
    """``await negotiate(**parameters)``: the verdict at 200 packets a second, and the evidence folder."""

    async def negotiate(**parameters):
        verdict = await play("sa-negotiation", **({"rate": RATE, "interval": 0.2} | parameters))
        return verdict, tmp_path / "sa-negotiation"

    return negotiate


def lost(verdict):
    return [flow.lost for flow in verdict.flows]


def sent(verdict):
    return [flow.sent for flow in verdict.flows]


def longest_gaps(verdict):
    return [flow.longest_gap_ms for flow in verdict.flows]


def measured(verdict, name):
    return next(check.measured for check in verdict.checks if check.name == name)


@in_both_runtimes
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("initial", marks=pytest.mark.stock_kernel("kernel ESP", "nft queue")),
        "rekey",  # there, the comparison has it
    ],
)
async def test_early_loses_nothing_when_the_third_message_is_lost(negotiate, moment):
    verdict, _ = await negotiate(third="drop", moment=moment)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert lost(verdict) == [0, 0]
    assert measured(verdict, "the third message, on the wire") == {"as expected": "1 of 1", "never seen": 1}
    assert measured(verdict, "SA effective at the responder")["by"] == {"esp": 1}
    assert measured(verdict, "negotiations with ESP before the third message") == 1


@pytest.mark.parametrize("responder", ["stock", "strongswan"])
async def test_stock_loses_what_is_sent_until_the_retransmission(negotiate, responder):
    verdict, _ = await negotiate(third="drop", responder=responder)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    (there, back), (gap, _) = lost(verdict), longest_gaps(verdict)
    assert there > 0
    assert back == 0
    assert gap > CHARONS_FIRST_RETRANSMISSION_S * 1000 * 0.9
    assert measured(verdict, "SA installed at the responder")["confirmed by packets"] == "1 of 1"


async def test_a_first_negotiation_of_stock_loses_both_ways(negotiate):
    verdict, _ = await negotiate(third="delay:1s", moment="initial", responder="strongswan")
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert all(count > 0 for count in lost(verdict))


async def test_a_late_third_message_costs_early_nothing(negotiate):
    verdict, _ = await negotiate(third="delay:300ms", count=2)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert lost(verdict) == [0, 0]
    wire = measured(verdict, "the third message, on the wire")["after the second message, ms"]
    assert wire["least"] >= 300


@pytest.mark.parametrize("initiator", ["strongswan", "hopbed"])
async def test_rekeys_with_pfs_and_no_fault_lose_nothing_and_leave_one_sa(negotiate, initiator):
    verdict, _ = await negotiate(pfs=True, count=5, initiator=initiator)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert lost(verdict) == [0, 0]
    counts = [check for check in verdict.checks if check.name.startswith("CHILD_SAs at the end")]
    assert [check.measured for check in counts] == [1, 1]


async def test_without_the_esp_trigger_the_old_sa_serves_outbound_until_the_third_message(negotiate):
    verdict, _ = await negotiate(third="delay:300ms", esp_trigger=False)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert lost(verdict) == [0, 0]
    assert measured(verdict, "SA effective at the responder")["by"] == {"qm3": 1}


async def test_a_third_message_that_was_not_late_makes_the_verdict_inconclusive(negotiate, monkeypatch):
    from orchestrator.scenarios.sa_negotiation import SaNegotiation

    monkeypatch.setattr(SaNegotiation, "fault", None)
    verdict, _ = await negotiate(third="drop")
    assert verdict.outcome is Outcome.INCONCLUSIVE


async def test_the_timeline_has_each_sa_from_installed_to_deleted(negotiate):
    _, folder = await negotiate(count=2)
    events = list(read_timeline(folder / "timeline.jsonl"))
    lines = [line for line in sa_lines(events) if (line.node, line.kind) == ("endpoint-b", "child")]
    assert len(lines) == 3
    for line in lines:
        assert line.start_ns is not None
        assert line.effective_ns is not None
        assert line.start_ns < line.effective_ns
        assert line.effective_by in ("esp", "qm3")
    assert [line.old_ns is None for line in lines] == [False, False, True]
    assert all(line.ended_by == "child-sa.deleted: delete" for line in lines[:2])
    assert read_evidence(folder).gaps == ()
    assert all(isinstance(event, Event) for event in events)


@in_both_runtimes
async def test_one_table_compares_strongswan_with_early(tmp_path, runtime):
    words = ["sa-negotiation", "--vary", "responder=strongswan,early", "--runtime", runtime]
    words += ["-p", "third=delay:300ms", "-p", f"rate={RATE}", "--out", str(tmp_path / "ab"), "--json"]
    comparison = json.loads(hopbed("ab", *words, check=0).stdout)
    (found,) = [figure for figure in comparison["figures"] if figure["name"] == "lost on udp-a-b"]
    assert found["medians"]["strongswan"] > 0
    assert found["medians"]["early"] == 0
    assert (tmp_path / "ab" / "report.html").exists()


@pytest.mark.stock_kernel("kernel ESP", "nft queue")
async def test_one_table_says_what_a_lost_third_message_costs_each_responder(tmp_path):
    """On the data plane of this kernel: ESP in the kernel where it has any."""
    words = ["sa-negotiation", "--vary", "responder=strongswan,stock,early", "--runtime", "namespaces"]
    words += ["-p", "third=drop", "-p", f"rate={RATE}", "--out", str(tmp_path / "ab"), "--json"]
    comparison = json.loads(hopbed("ab", *words, check=0).stdout)
    lost = next(figure["medians"] for figure in comparison["figures"] if figure["name"] == "lost on udp-a-b")
    assert lost["strongswan"] > 0
    assert lost["stock"] > 0
    assert lost["early"] == 0
    carried = "kernel" if (await probes.kernel_esp()).present else "userspace"
    verdicts = [json.loads(path.read_text()) for path in (tmp_path / "ab").glob("*/verdict.json")]
    assert [verdict["dataplane"] for verdict in verdicts] == [carried] * 3


@in_both_runtimes
async def test_ps_says_how_far_an_endpoints_sas_are(runtime):
    nodes = ("endpoint", "endpoint-b")
    run_id = json.loads(hopbed("up", *nodes, "--runtime", runtime, "--json", check=0).stdout)["run"]
    try:
        found = await find_run(run_id)
        async with attach(found.run_id, runtime_type(found.runtime)) as bed:
            ends = tunnel(bed.plan, *nodes, credentials(bed.plan, nodes, "psk"), Settings(version=1))
            for name, connection in zip(nodes, (ends.initiator, ends.responder), strict=True):
                await bed.node(name).endpoint.load(at_endpoint(connection))
            await bed.node(nodes[0]).endpoint.initiate(CONNECTION, CHILD)
            await bed.events.wait_for("child-sa.effective", node=nodes[1], timeout=20)
        listed = hopbed("ps", check=0).stdout
        assert "EFFECTIVE by qm2" in listed
        assert "EFFECTIVE by qm3" in listed
    finally:
        hopbed("down", "--run", run_id)
