"""The scenario address-hop, in short forms: what its verdict says, and that it can fail."""

import dataclasses

import pytest

from orchestrator.evidence.timeline import read_timeline
from orchestrator.evidence.verdict import Outcome

pytestmark = pytest.mark.anyio

QUICK = {"hops": 4, "period": 0.15, "rate": 200, "tcp_rate": 50, "scan": False}


def check(verdict, name):
    (found,) = [one for one in verdict.checks if one.name == name]
    return found


def losses(verdict):
    return {flow.name: flow.lost for flow in verdict.flows}


async def test_interface_identifiers_and_prefixes_hop_and_nothing_is_lost(play, tmp_path):
    verdict = await play("address-hop", kind="both", **(QUICK | {"scan": True}))
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert len(verdict.flows) == 8
    assert set(losses(verdict).values()) == {0}
    assert check(verdict, "no packet bears a retired address").measured["addresses"] == 4
    assert check(verdict, "scanner: the first address, without hopping").outcome is Outcome.PASS
    assert check(verdict, "scanner: retired addresses").outcome is Outcome.PASS
    kinds = [event.kind for event in read_timeline(tmp_path / "address-hop" / "timeline.jsonl")]
    assert kinds.count("hop.closed") == 4


async def test_kernel_lifetimes_drive_the_hops(play):
    verdict = await play("address-hop", preferred=2, valid=4, **(QUICK | {"hops": 2}))
    assert verdict.outcome is Outcome.PASS, verdict.unmet()


async def test_advertised_prefixes_drive_the_hops(play):
    verdict = await play("address-hop", kind="ra", preferred=2, valid=4, **(QUICK | {"hops": 2}))
    assert verdict.outcome is Outcome.PASS, verdict.unmet()


async def test_both_ends_hop_at_once(play):
    verdict = await play("address-hop", side="both", **QUICK)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert check(verdict, "hops of terminal-b").measured == "4"


async def test_messages_travel_by_udp(play):
    verdict = await play("address-hop", carriage="udp", kind="interface-id", **QUICK)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()


async def test_ports_and_flow_labels_change_with_the_hops(play):
    verdict = await play("address-hop", flow_labels=True, move_ports=True, **QUICK)
    assert verdict.outcome is Outcome.PASS, verdict.unmet()


@pytest.mark.parametrize(
    ("partner", "outcome"), [("legacy", "not-recognised"), ("refusing", "refused"), ("silent", "no-answer")]
)
async def test_a_partner_that_does_not_take_part_leaves_the_services_where_they_are(play, partner, outcome):
    verdict = await play("address-hop", partner=partner, **(QUICK | {"hops": 2, "period": 0.3}))
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    assert check(verdict, "services of terminal-a").measured[outcome] >= 4
    assert check(verdict, "the services keep their address to their end").outcome is Outcome.PASS
    if partner == "legacy":
        assert check(verdict, "the partner's kernel answers").measured["packets"] > 0


async def test_unmodified_applications_live_through_hops(play):
    verdict = await play(
        "address-hop",
        applications="curl,iperf3,ssh",
        transports="icmpv6",
        download=20,
        bitrate=20,
        **(QUICK | {"hops": 8}),
    )
    assert not any(losses(verdict).values())
    for name in ("curl", "iperf3", "ssh", "ping"):
        assert check(verdict, f"{name} through 8 hops").outcome is Outcome.PASS


@pytest.mark.parametrize("mechanism", ["none", "mptcp", "quic", "hopbed"])
async def test_mechanisms_are_compared_under_the_same_changes(play, mechanism):
    verdict = await play("address-hop", mechanism=mechanism, hops=2, period=0.5, bulk=2, congestion="reno")
    assert verdict.outcome is Outcome.PASS, verdict.unmet()
    lost = losses(verdict)
    assert set(lost) == {"stream", "bulk", "steady-stream"}
    assert lost["steady-stream"] == 0
    if mechanism in ("none", "hopbed"):  # what the others lose is what the comparison is there to find out
        assert (lost["stream"] > 0) == (mechanism == "none")
    if mechanism == "mptcp":
        made = check(verdict, "subflows made before the break").measured
        assert made == ["2 of 2", "2 of 2"]
    assert check(verdict, "congestion control").measured == "reno"
    assert isinstance(check(verdict, "throughput dip of bulk, %").measured, float)


async def test_a_packet_with_a_retired_address_fails_the_verdict(play, monkeypatch):
    """The verdict can fail: here addresses count as retired from the beginning of the run."""
    from orchestrator.scenarios import address_hop_evidence as evidence

    original = evidence.retired

    def early(events):
        return [dataclasses.replace(one, since_ns=0) for one in original(events)]

    monkeypatch.setattr(evidence, "retired", early)
    verdict = await play("address-hop", **QUICK)
    found = check(verdict, "no packet bears a retired address")
    assert found.outcome is Outcome.FAIL
    assert found.measured["as source"] > 0
    assert found.measured["as destination"] > 0
