"""The scenarios on live testbeds, in each runtime: the verdict, and the evidence that it rests on."""

import ipaddress
import json
import xml.etree.ElementTree as ET

import anyio
import pytest
from machine import packets_in

from orchestrator.evidence.timeline import read_timeline
from orchestrator.evidence.verdict import Outcome, decode

pytestmark = pytest.mark.anyio


def losses(verdict):
    return {flow.name: flow.lost for flow in verdict.flows}


async def test_a_tunnel_carries_everything(play):
    verdict = await play("tunnel", duration=1)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert losses(verdict) == {"udp-a-b": 0, "udp-b-a": 0, "tcp-a-b": 0, "tcp-b-a": 0}


async def test_twenty_ikev2_rekeys_under_500_packets_a_second_lose_nothing(play, runtime):
    verdict = await play("rekey", ike="2", count=20, rate=500)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert set(losses(verdict).values()) == {0}
    assert (verdict.runtime, verdict.dad) == (runtime, "nodad")
    assert verdict.dataplane in ("kernel", "userspace")


async def test_ikev1_rekeys_with_pfs_report_what_stock_loses(play):
    verdict = await play("rekey", ike="1", pfs=True, count=5)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    for flow in verdict.flows:
        assert flow.lost == flow.sent - flow.received
        assert sum(interruption.lost for interruption in flow.interruptions) == flow.lost


@pytest.mark.parametrize("ike", ["1", "2"])
async def test_peers_authenticate_by_certificates_of_the_runs_own_ca(play, ike):
    verdict = await play("rekey", ike=ike, auth="cert", count=1)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()


async def test_a_loss_above_the_bound_fails_with_the_evidence(play, monkeypatch, tmp_path):
    """The verdict can fail: here the tunnel's traffic is cut for a while by a filter at the responder."""
    from orchestrator.scenarios import rekey

    original = rekey.rekey_once

    async def cut(stage, *, by):
        responder = stage.bed.node("peer-b")
        await responder.exec(
            [
                "nft",
                "add table ip6 cut; add chain ip6 cut in "
                "{ type filter hook input priority 0; }; add rule ip6 cut in udp dport 4500 drop",
            ]
        )
        await anyio.sleep(0.3)  # the length of the cut
        await responder.exec(["nft", "delete table ip6 cut"])
        await original(stage, by=by)

    monkeypatch.setattr(rekey, "rekey_once", cut)
    verdict = await play("rekey", count=1, rate=500, tcp_rate=0)
    assert verdict.outcome is Outcome.FAIL
    (there, back) = verdict.flows
    assert there.lost > 50
    assert back.lost == 0
    assert [interruption.lost for interruption in there.interruptions if interruption.lost] == [there.lost]
    failed = ET.parse(tmp_path / "rekey" / "junit.xml").findall(".//failure")
    assert [failure.attrib["message"].split(",")[0] for failure in failed] == ["expected 0"]


async def test_the_evidence_folder_is_whole(play, tmp_path):
    verdict = await play("rekey", count=2)
    out = tmp_path / "rekey"
    assert decode((out / "verdict.json").read_bytes()) == verdict
    kinds = [event.kind for event in read_timeline(out / "timeline.jsonl")]
    assert kinds.count("child-sa.rekeyed") == 4  # two rekeys, each told by both peers
    assert kinds[0] == "testbed.starting"
    assert kinds[-1] == "check"
    run = json.loads((out / "run.json").read_text())
    assert sorted(run["captures"]) == ["bridge", "peer-a", "peer-b"]
    assert sum(capture["packets"] for capture in run["captures"].values()) == verdict.capture.packets
    for place in run["captures"]:
        assert len(packets_in(out / "captures" / f"{place}.pcapng", "isakmp")) >= 4 + 2 * 2
    for node in ("peer-a", "peer-b"):
        assert "CREATE_CHILD_SA" in (out / "nodes" / node / "charon.log").read_text()


async def test_no_secret_stands_in_the_evidence(play, tmp_path, monkeypatch):
    from orchestrator import tunnel

    made = []
    original = tunnel.secrets.token_urlsafe
    monkeypatch.setattr(tunnel.secrets, "token_urlsafe", lambda size: made.append(original(size)) or made[-1])
    await play("tunnel", duration=0.2)
    assert made
    for path in (tmp_path / "tunnel").rglob("*"):
        if path.is_file():
            assert made[0].encode() not in path.read_bytes(), path


async def test_each_run_has_a_prefix_of_its_own(play, tmp_path):
    seen = set()
    for name in ("one", "other"):
        await play("tunnel", duration=0.1, tcp_rate=0, out=tmp_path / name)
        events = read_timeline(tmp_path / name / "timeline.jsonl")
        sa = next(event for event in events if event.kind == "ike-sa.established")
        seen.add(ipaddress.IPv6Address(sa.data["local_address"]).packed[:6])
    assert len(seen) == 2


async def test_eight_tunnels_at_the_same_time_all_pass(play, tmp_path):
    verdicts = []

    async def one(number):
        verdicts.append(await play("tunnel", duration=1, rate=100, tcp_rate=20, out=tmp_path / str(number)))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(one, number)
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PASS] * 8
