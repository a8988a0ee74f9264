"""Each kind of abnormality between two real charons: what is seen is exactly this, and mended they agree."""

import re
from contextlib import asynccontextmanager

import pytest
from two_peers import COMPOSE, HEARD, A, B

from nodes import errors
from orchestrator.breaking import CONNECTION, Breakage, Kind, clear, mend
from orchestrator.tasks import background
from orchestrator.testbed import Testbed
from orchestrator.tunnel import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.root]

HASTE = {"retransmit_timeout": 0.2, "retransmit_base": 1.0, "retransmit_tries": 1, "publish_log": 1}
"""Who is not answered gives up after 0.4 s; what charon logs is on the stream."""
SEEN = {
    (Kind.IKE_PROPOSAL, 1): (B, "no proposal found"),
    (Kind.IKE_PROPOSAL, 2): (B, "received proposals unacceptable"),
    (Kind.ESP_PROPOSAL, 1): (B, "no matching proposal found, sending NO_PROPOSAL_CHOSEN"),
    (Kind.ESP_PROPOSAL, 2): (B, "no acceptable proposal found"),
    (Kind.PSK, 1): (B, "could not decrypt payloads"),
    (Kind.PSK, 2): (B, "tried 1 shared key for .* but MAC mismatched"),
    (Kind.ID_INITIATOR, 1): (B, "no peer config found"),
    (Kind.ID_INITIATOR, 2): (B, "no matching peer config found"),
    (Kind.ID_RESPONDER, 1): (A, r"IDir '.*' does not match to 'nobody\."),
    (Kind.ID_RESPONDER, 2): (B, "no matching peer config found"),
    (Kind.TRAFFIC_SELECTOR, 1): (B, "no matching CHILD_SA config found"),
    (Kind.TRAFFIC_SELECTOR, 2): (B, "traffic selectors .* unacceptable"),
    (Kind.UNKNOWN_PEER, 1): (B, "no IKE config found"),
    (Kind.UNKNOWN_PEER, 2): (B, "no IKE config found"),
    (Kind.VERSION, 1): (B, r"received unsupported IKE version 14\.15"),
    (Kind.VERSION, 2): (B, r"received unsupported IKE version 13\.15"),
    (Kind.MALFORMED_HEADER, 1): (B, "received invalid IKE header"),
    (Kind.MALFORMED_HEADER, 2): (B, "received invalid IKE header"),
    (Kind.MALFORMED_PAYLOAD, 1): (B, "parsing of a .* substructure failed"),
    (Kind.MALFORMED_PAYLOAD, 2): (B, "parsing of a .* substructure failed"),
    (Kind.CORRUPTED_ENCRYPTED, 1): (B, "could not decrypt payloads"),
    (Kind.CORRUPTED_ENCRYPTED, 2): (B, "verifying encrypted payload integrity failed"),
    (Kind.CERTIFICATE_EXPIRED, 1): (B, "subject certificate invalid"),
    (Kind.CERTIFICATE_EXPIRED, 2): (B, "subject certificate invalid"),
    (Kind.CERTIFICATE_UNTRUSTED, 1): (B, "no issuer certificate found"),
    (Kind.CERTIFICATE_UNTRUSTED, 2): (B, "no issuer certificate found"),
    (Kind.DEAD_PEER, 1): (A, "giving up after 1 retransmits"),
    (Kind.DEAD_PEER, 2): (A, "giving up after 1 retransmits"),
}
"""Who says what in its log."""


@asynccontextmanager
async def two_peers(**settings):
    told = dict.fromkeys((A, B), HASTE | settings)
    async with Testbed.from_compose(COMPOSE, runtime="namespaces", nodes=(A, B), settings=told) as bed:
        yield bed


def breakage(bed, kind, version):
    return Breakage.of(bed.plan, A, B, kind, Settings(version=version))


def test_every_kind_but_the_flood_has_its_sign():
    assert {kind for kind, _ in SEEN} == set(Kind) - {Kind.THIRD_PARTY_FLOOD}


@pytest.mark.parametrize(("kind", "version"), SEEN, ids=lambda one: str(one))
async def test_an_abnormality_is_seen_as_what_it_is_and_mended(kind, version):
    who, words = SEEN[kind, version]
    async with two_peers() as bed:
        broken = breakage(bed, kind, version)
        async with broken.in_force(bed), background() as tasks:

            async def try_once():
                with pytest.raises(errors.NegotiationError):
                    await bed.node(A).peer.initiate(CONNECTION, timeout=HEARD)

            tasks.start_soon(try_once)
            said = await bed.events.wait_for(
                "charon.log",
                node=who,
                where=lambda event: re.search(words, event.data["text"]) is not None,
                timeout=HEARD,
            )
            assert not [event for event in bed.events.past if event.kind == "child-sa.installed"]
        assert said.node == who
        await clear(bed, A, B)
        await broken.mend_configuration(bed)
        initiated = await bed.node(A).peer.initiate(CONNECTION)
        assert initiated.ike.version == version


async def test_a_mend_needs_nothing_of_what_was_broken():
    async with two_peers() as bed:
        for kind in (Kind.DEAD_PEER, Kind.PSK):
            await breakage(bed, kind, 1).make(bed)
            with pytest.raises(errors.NegotiationError):
                await bed.node(A).peer.initiate(CONNECTION, timeout=1)
        await mend(bed, A, B, Settings(version=1))
        assert (await bed.node(B).peer.initiate(CONNECTION)).ike.version == 1
        assert b"hopbed-deaf" not in (await bed.node(B).exec(["nft", "list", "ruleset"])).stdout


async def test_what_is_not_mended_of_a_configuration_stays_wrong():
    async with two_peers() as bed:
        broken = breakage(bed, Kind.PSK, 2)
        async with broken.in_force(bed):
            pass
        with pytest.raises(errors.NegotiationError, match="AUTHENTICATION_FAILED"):
            await bed.node(A).peer.initiate(CONNECTION)
