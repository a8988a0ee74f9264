"""The life of SAs between the endpoint and an unmodified charon, or another endpoint, with real packets.

Each case has its loss figure: what of 500 probes a second, each way, did not arrive. It stands in the JUnit
report as the properties ``lost there`` (from the initiator) and ``lost back``.
"""

import anyio
import pytest
from ike_tunnel import CHARON, HEARD, OURS, OURS_TOO, tunnel_ends
from two_peers import silence

from nodes.peer.model import Rekey, Terminate
from orchestrator.tunnel import CHILD, CONNECTION

pytestmark = pytest.mark.anyio

INITIATORS = pytest.mark.parametrize("initiator", [CHARON, OURS_TOO], ids=["strongswan", "hopbed"])
BOTH_WAYS = pytest.mark.parametrize("ends", [(CHARON, OURS), (OURS, CHARON)], ids=["responder", "initiator"])
SETTLED = 0.6
"""Seconds of traffic after the case, in which what it should have cost would be seen."""


@pytest.fixture
def figure(record_property):
    """Write down what was lost, and return it."""

    def figure(lost, case=""):
        for way, count in zip(("there", "back"), lost, strict=True):
            record_property(f"lost {way}{case}", count)
        return lost

    return figure


@INITIATORS
@pytest.mark.parametrize("what", ["drop", "delay", "duplicate", "replay"])
async def test_no_message_of_quick_mode_costs_a_packet(initiator, what, figure):
    """Lost, late by 0.3 s, twice, and replayed after 0.3 s: each of the three, one rekey after the other."""
    more = " by 300ms" if what in ("delay", "replay") else ""
    async with tunnel_ends(initiator, OURS) as ends:
        await ends.establish()
        for message in (1, 2, 3):
            since = len(ends.bed.events.past)
            async with ends.traffic() as lost, ends.faults(f"{what} quick-mode {message}{more}"):
                new = await ends.rekey()
                await ends.heard("child-sa.effective", OURS, since=since, spi_out=new.new_spis[0])
                await ends.bed.events.wait_for("fault.applied", since=since, timeout=HEARD)
                await anyio.sleep(SETTLED)
            assert figure(lost, f", message {message}") == [0, 0]
            assert len(ends.told("child-sa.installed", OURS, since)) == 1


@INITIATORS
async def test_the_third_message_lost_for_ever_costs_nothing_as_esp_has_confirmed(initiator, figure):
    async with tunnel_ends(initiator, OURS) as ends:
        await ends.establish()
        rule = "drop quick-mode 3 from INITIATOR always with retransmissions"
        async with ends.traffic() as lost, ends.faults(rule):
            since = len(ends.bed.events.past)
            await ends.rekey()
            effective = await ends.heard("child-sa.effective", OURS, since=since)
            await anyio.sleep(SETTLED)
        assert effective.data["reason"] == "esp"
        assert figure(lost) == [0, 0]


@BOTH_WAYS
async def test_both_ends_rekey_at_once_and_nothing_is_lost(ends, figure):
    """What we send to strongSwan, the stock responder of our own Quick Modes, is a race with its thread."""
    async with tunnel_ends(*ends) as ends:
        await ends.establish()
        both = [f"delay quick-mode 1 from {end} always by 100ms" for end in ("INITIATOR", "RESPONDER")]
        async with ends.traffic() as lost, ends.faults(*both):
            for _ in range(3):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ends.rekey, ends.initiator)
                    tasks.start_soon(ends.rekey, ends.responder)
                await anyio.sleep(SETTLED)
        by_strongswan, by_us = figure(lost)[:: 1 if ends.initiator == CHARON else -1]
        assert by_strongswan == 0
        assert by_us <= 3


@INITIATORS
async def test_a_new_sa_that_nothing_confirms_is_removed_and_the_old_one_serves_on(initiator, figure):
    async with tunnel_ends(initiator, OURS, responding={"confirm_timeout": 1}) as ends:
        await ends.establish()
        (before,) = await ends.children(OURS)
        async with (
            ends.traffic() as lost,
            ends.faults("drop quick-mode 2 from RESPONDER always with retransmissions"),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(ends.rekey)
            gone = await ends.heard("child-sa.deleted", OURS)
            tasks.cancel_scope.cancel()
            await anyio.sleep(SETTLED)
        assert gone.data["reason"] == "not-confirmed"
        (after,) = await ends.children(OURS)
        assert (after.spi_in, after.state) == (before.spi_in, "EFFECTIVE")
        assert figure(lost) == [0, 0]


async def test_a_pair_that_its_responder_gives_up_hands_back_to_the_one_before(figure):
    """The third message never comes and ESP does not count: only what is under way at the DELETE is lost."""
    giving_up = {"esp_trigger": False, "confirm_timeout": 1.5}
    async with tunnel_ends(OURS_TOO, OURS, responding=giving_up) as ends:
        await ends.establish()
        rule = "drop quick-mode 3 from INITIATOR always with retransmissions"
        async with ends.traffic() as lost, ends.faults(rule):
            await ends.rekey()
            gone = await ends.heard("child-sa.deleted", OURS)
            await ends.heard("child-sa.effective", OURS_TOO, reason="restored")
            await anyio.sleep(SETTLED)
        assert gone.data["reason"] == "not-confirmed"
        there, back = figure(lost)
        assert back == 0
        assert there <= 25  # 50 ms, on a machine with other work


@BOTH_WAYS
async def test_a_delete_that_is_lost_leaves_the_old_sa_to_the_partner_and_costs_nothing(ends, figure):
    async with tunnel_ends(*ends, options={"retire_after": 0.5}) as ends:
        await ends.establish()
        old = (await ends.children(CHARON))[0].spi_in
        async with ends.traffic() as lost, ends.faults(f"drop informational from {OURS}"):
            await ends.rekey()
            gone = await ends.heard("child-sa.deleted", OURS)
            await ends.bed.events.wait_for("fault.applied", timeout=HEARD)
            await anyio.sleep(SETTLED)
        assert (gone.data["reason"], gone.data["spi_out"]) == ("rekeyed", old)
        assert old in [child.spi_in for child in await ends.children(CHARON)]
        assert len(await ends.children(OURS)) == 1
        assert figure(lost) == [0, 0]


async def test_an_initiator_that_restarts_is_believed_and_has_its_tunnel_again(figure):
    """charon forgets its SAs, whose DELETE nobody hears; its next main mode is an initial contact."""
    async with tunnel_ends(CHARON, OURS) as ends:
        await ends.establish()
        async with ends.faults(f"drop informational from {CHARON} always"):
            await ends.end(CHARON).terminate(Terminate(connection=CONNECTION, force=True))
        assert len(await ends.children(OURS)) == 1
        since = len(ends.bed.events.past)
        await ends.establish()
        gone = await ends.heard("child-sa.deleted", OURS, since=since)
        assert gone.data["reason"] == "initial-contact"
        async with ends.traffic() as lost:
            await anyio.sleep(SETTLED)
        assert len(await ends.children(OURS)) == 1
        assert len(await ends.end(OURS).list_sas()) == 1
        assert figure(lost) == [0, 0]


@BOTH_WAYS
async def test_a_hard_lifetime_with_no_new_sa_ends_the_traffic_and_nothing_goes_in_clear(ends, figure):
    async with tunnel_ends(*ends, child_life_time=3) as ends:
        await ends.establish()
        async with ends.traffic() as lost:
            gone = await ends.heard("child-sa.deleted", OURS)
            await anyio.sleep(SETTLED)
        assert gone.data["reason"] in ("hard-lifetime", "delete")  # charon's expiry may be a moment earlier
        assert await ends.children(OURS) == []
        assert all(count > 0 for count in figure(lost))


@pytest.mark.parametrize(
    "limit",
    [{"rekey_time": 2}, {"rekey_packets": 1000}, {"rekey_octets": 250_000}],
    ids=lambda one: next(iter(one)),
)
async def test_a_soft_lifetime_rekeys_and_nothing_is_lost(limit, figure):
    async with tunnel_ends(OURS_TOO, OURS, initiating={"child": limit}) as ends:
        await ends.establish()
        async with ends.traffic() as lost:
            for _ in range(2):
                since = len(ends.bed.events.past)
                await ends.heard("child-sa.rekeyed", OURS, since=since)
        assert ends.told("child-sa.soft-lifetime", OURS_TOO)
        assert figure(lost) == [0, 0]


@BOTH_WAYS
@pytest.mark.parametrize("by", [CHARON, OURS], ids=["by strongswan", "by hopbed"])
async def test_a_main_mode_beneath_running_sas_costs_nothing(ends, by, figure):
    async with tunnel_ends(*ends) as ends:
        await ends.establish()
        async with ends.traffic() as lost:
            new = await ends.end(by).rekey(Rekey(connection=CONNECTION))
            await anyio.sleep(SETTLED)
            await ends.rekey(by)  # under the new ISAKMP SA
            await anyio.sleep(SETTLED)
        assert new.old_spis != new.new_spis
        assert figure(lost) == [0, 0]


@pytest.mark.parametrize("message", range(1, 7))
async def test_a_main_mode_whose_message_is_lost_comes_to_its_end(message):
    ends = (OURS_TOO, OURS)
    async with tunnel_ends(*ends) as ends, ends.faults(f"drop main-mode {message}"):
        made = await ends.establish()
        assert made.child.state == "EFFECTIVE"
        assert len(await ends.end(OURS).list_sas()) == 1


@BOTH_WAYS
async def test_a_dead_partner_is_found_by_dpd_and_its_sas_go(ends):
    telling = {"dpd_timeout": 2, "dpd_delay": 1}
    side = "responding" if ends[1] == OURS else "initiating"
    async with tunnel_ends(*ends, **{side: telling}) as ends:
        await ends.establish()
        await silence(ends.bed, CHARON)
        gone = await ends.heard("ike-sa.deleted", OURS)
        assert gone.data["reason"] == "dpd"
        await ends.heard("child-sa.deleted", OURS, reason="dpd")
        assert await ends.end(OURS).list_sas() == []


async def test_an_endpoint_that_dies_is_found_by_strongswan_through_dpd():
    async with tunnel_ends(CHARON, OURS, dpd_delay=1) as ends:
        await ends.establish()
        await silence(ends.bed, OURS)
        await ends.heard("ike-sa.deleted", CHARON)


@pytest.mark.stock_kernel("kernel ESP", "nft queue")
async def test_the_first_sa_carries_from_its_first_packet_although_the_third_message_is_lost(figure):
    """Both ways: the responder's packets wait for the first of the initiator's."""
    async with tunnel_ends(CHARON, OURS) as ends:
        rule = "drop quick-mode 3 from INITIATOR always with retransmissions"
        async with ends.faults(rule):
            await ends.establish()
            async with ends.traffic() as lost:
                await anyio.sleep(SETTLED)
        (effective,) = ends.told("child-sa.effective", OURS)
        assert effective.data["reason"] == "esp"
        assert figure(lost) == [0, 0]


async def test_extended_sequence_numbers_are_negotiated_where_both_offer_them(figure):
    child = {"esp_proposals": ["aes128gcm16-esn"]}
    async with tunnel_ends(OURS_TOO, OURS, initiating={"child": child}, responding={"child": child}) as ends:
        await ends.establish()
        async with ends.traffic() as lost:
            await ends.rekey()
            await anyio.sleep(SETTLED)
        assert figure(lost) == [0, 0]


@pytest.mark.stock_kernel("kernel ESP")
async def test_a_child_that_is_trapped_is_negotiated_by_its_first_packet():
    trapped = {"child": {"start_action": "trap"}}
    async with tunnel_ends(OURS_TOO, OURS, initiating=trapped) as ends:
        far = ends.bed.node(OURS).inner_address
        near = ends.bed.node(OURS_TOO).inner_address
        # until one is answered: what comes before there is an SA is lost
        command = ["ping", "-6", "-n", "-c", "1", "-i", "0.2", "-w", f"{HEARD:g}", "-I", near, far]
        await ends.bed.node(OURS_TOO).exec(command)
        await ends.heard("child-sa.effective", OURS_TOO)  # told a moment after the kernel has it
        (child,) = await ends.children(OURS_TOO)
        assert (child.name, child.state) == (CHILD, "EFFECTIVE")
