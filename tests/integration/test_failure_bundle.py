"""A run that does not pass leaves one file for a bug report, without secrets."""

import base64
import dataclasses
import json
import tarfile

import anyio
import pytest

from nodes.errors import NodeError
from orchestrator import tunnel
from orchestrator.bundle.bundle import BUNDLE
from orchestrator.events import EventStream
from orchestrator.evidence.verdict import Outcome
from orchestrator.scenarios import tunnel_between_peers as between
from orchestrator.scenarios.catalogue import SCENARIOS
from orchestrator.scenarios.runner import Run, run
from orchestrator.scenarios.scenario import Scenario

SECRET = "eine-lange-und-geheime-Losung-42"


def asked(scenario, out, runtime, **more):
    return Run(
        scenario=scenario,
        parameters=scenario.parameters(),
        out=out,
        seed=1,
        command=("hopbed", "run", scenario.name, "--seed", "1"),
        runtime=runtime,
        **more,
    )


def packed(path):
    with tarfile.open(path) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read()
            for member in archive
            if member.isfile()
        }


@pytest.fixture
def known_secret(monkeypatch):
    monkeypatch.setattr(tunnel.secrets, "token_urlsafe", lambda _octets: SECRET)


async def fail_a_check(stage, parameters):
    await between.establish(stage, parameters, tunnel.Settings())
    stage.check("the sun rises", expected="in the west", measured="in the east", passed=False)


async def break_down(stage, parameters):
    await between.establish(stage, parameters, tunnel.Settings())
    raise NodeError("peer-a: something broke")


def scenario(play):
    ends = (between.INITIATOR, between.RESPONDER)
    return Scenario(
        name="a-failing-one",
        summary="",
        nodes=ends,
        ends=ends,
        parameters=between.TunnelParameters,
        play=play,
    )


def test_a_failed_check_leaves_the_nodes_state_and_no_secret(tmp_path, runtime, known_secret):
    verdict = anyio.run(run, asked(scenario(fail_a_check), tmp_path / "e", runtime, keys=True), EventStream())
    assert verdict.outcome is Outcome.FAIL
    found = packed(tmp_path / "e" / BUNDLE)
    for node in (between.INITIATOR, between.RESPONDER):
        state = found[f"nodes/{node}/state.txt"].decode()
        for command in ("address", "xfrm state", "xfrm policy", "nft list ruleset", "list-sas", "ps -e"):
            assert f"{command}" in state
        assert '"state": "ESTABLISHED"' in state
        assert f"nodes/{node}/charon.log" in found
    assert {"machine.json", "README.txt", "run.json", "verdict.json", "timeline.jsonl"} <= set(found)
    content = b"".join(found.values())
    for spelling in (SECRET, SECRET.encode().hex(), base64.b64encode(SECRET.encode()).decode()):
        assert spelling.encode() not in content
    assert not [name for name in found if name.startswith("keys/")]


def test_a_run_that_breaks_down_leaves_one_too(tmp_path):
    with pytest.raises(NodeError, match="something broke"):
        anyio.run(run, asked(scenario(break_down), tmp_path / "e", "namespaces"), EventStream())
    assert '"state": "ESTABLISHED"' in packed(tmp_path / "e" / BUNDLE)["nodes/peer-a/state.txt"].decode()


async def an_endpoint_negotiates_and_fails(stage, parameters):
    bed, ends = stage.bed, ("peer-a", "endpoint")
    both = tunnel.tunnel(
        bed.plan, *ends, tunnel.credentials(bed.plan, ends, "psk"), tunnel.Settings(version=1)
    )
    await bed.node("endpoint").endpoint.load(both.responder)
    await bed.node("peer-a").peer.load(both.initiator)
    await bed.node("peer-a").peer.initiate(tunnel.CONNECTION, tunnel.CHILD)
    stage.check("the sun rises", expected="in the west", measured="in the east", passed=False)


def test_the_state_of_an_endpoint_has_its_sas_too(tmp_path, runtime, known_secret):
    ends = ("peer-a", "endpoint")
    story = dataclasses.replace(scenario(an_endpoint_negotiates_and_fails), nodes=ends, ends=ends)
    anyio.run(run, asked(story, tmp_path / "e", runtime), EventStream())
    found = packed(tmp_path / "e" / BUNDLE)
    states = {node: found[f"nodes/{node}/state.txt"].decode().partition("$ list-sas\n")[2] for node in ends}
    [[at_endpoint], [at_peer]] = (json.loads(states[node]) for node in reversed(ends))
    assert at_endpoint["state"] == "ESTABLISHED"
    assert {child["spi_in"] for child in at_endpoint["children"]} == {
        child["spi_out"] for child in at_peer["children"]
    }
    assert SECRET.encode() not in b"".join(found.values())


def test_a_run_that_passes_leaves_none(tmp_path):
    anyio.run(run, asked(SCENARIOS["tunnel"], tmp_path / "e", "namespaces"), EventStream())
    assert not (tmp_path / "e" / BUNDLE).exists()
