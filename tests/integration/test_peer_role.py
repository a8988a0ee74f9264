"""Two peers, each a real charon in a node of its own, negotiate, carry, rekey and refuse."""

import anyio
import msgspec
import pytest
from two_peers import ENDS, HEARD, A, B, load, peers, ping, silence

from nodes import errors
from nodes.agent import CONTROL_SOCKET
from nodes.peer.model import Psk, Rekey, Terminate
from orchestrator.control import connect
from orchestrator.peer import Peer
from orchestrator.tunnel import CHILD, CONNECTION, credentials, tunnel

pytestmark = pytest.mark.anyio


def inner_sa(sas):
    """The one CHILD_SA that is installed."""
    (child,) = [child for sa in sas for child in sa.children if child.state == "INSTALLED"]
    return child


@pytest.mark.parametrize("auth", ["psk", "cert"])
@pytest.mark.parametrize("version", [1, 2])
async def test_a_tunnel_comes_up_and_carries_both_ways(version, auth):
    async with peers() as bed:
        await load(bed, auth, version=version)
        made = await bed.node(A).peer.initiate(CONNECTION)
        assert (made.ike.version, made.ike.state, made.child.state) == (version, "ESTABLISHED", "INSTALLED")
        assert await ping(bed, A, B)
        assert await ping(bed, B, A)
        near = inner_sa(await bed.node(A).peer.list_sas())
        far = inner_sa(await bed.node(B).peer.list_sas())
        assert (near.spi_in, near.spi_out) == (far.spi_out, far.spi_in)
        assert near.packets_out == far.packets_in == near.packets_in == far.packets_out == 6


@pytest.mark.parametrize(
    "pfs",
    [
        pytest.param(False, id="without pfs"),
        pytest.param(True, id="with pfs", marks=pytest.mark.stock_kernel("kernel ESP")),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
async def test_a_child_sa_is_rekeyed_from_either_end(version, pfs):
    async with peers() as bed:
        await load(bed, version=version, pfs=pfs)
        first = (await bed.node(A).peer.initiate(CONNECTION)).child
        before = (first.spi_in, first.spi_out)
        for end in (A, B):
            rekeyed = await bed.node(end).peer.rekey(Rekey(child=CHILD))
            assert rekeyed.old_spis == before
            partner = B if end == A else A
            told = await bed.events.wait_for(
                "child-sa.rekeyed",
                node=partner,
                where=lambda event, spis=rekeyed.new_spis: event.data["new"]["spi_out"] == spis[0],
                timeout=HEARD,
            )
            before = (told.data["new"]["spi_in"], told.data["new"]["spi_out"])
            assert before == (rekeyed.new_spis[1], rekeyed.new_spis[0])
            assert told.data["new"]["dh_group"] == ("ECP_256" if pfs else None)
            assert await ping(bed, A, B)


@pytest.mark.parametrize("version", [1, 2])
async def test_an_ike_sa_is_rekeyed_and_its_child_goes_on(version):
    async with peers() as bed:
        await load(bed, version=version)
        made = await bed.node(A).peer.initiate(CONNECTION)
        rekeyed = await bed.node(A).peer.rekey(Rekey(connection=CONNECTION))
        assert rekeyed.old_id == made.ike.unique_id
        assert rekeyed.old_spis == (made.ike.initiator_spi, made.ike.responder_spi)
        assert set(rekeyed.new_spis).isdisjoint(rekeyed.old_spis)
        assert await ping(bed, A, B)
        assert inner_sa(await bed.node(A).peer.list_sas()).spi_in == made.child.spi_in


async def test_the_events_of_an_sa_are_on_the_stream_before_the_answer():
    async with peers() as bed:
        await load(bed)
        made = await bed.node(A).peer.initiate(CONNECTION)
        kinds = [event.kind for event in bed.events.past if event.node == A]
        assert kinds.index("ike-sa.established") < kinds.index("child-sa.installed")
        installed = await bed.events.wait_for("child-sa.installed", node=B, timeout=HEARD)
        assert (installed.data["spi_in"], installed.data["spi_out"]) == (
            made.child.spi_out,
            made.child.spi_in,
        )
        assert await bed.node(A).peer.terminate(Terminate(connection=CONNECTION)) == 1
        for end in ENDS:
            await bed.events.wait_for("child-sa.deleted", node=end, timeout=HEARD)
            await bed.events.wait_for("ike-sa.deleted", node=end, timeout=HEARD)
            assert await bed.node(end).peer.list_sas() == []


@pytest.mark.parametrize(
    ("version", "reason"), [(1, "could not decrypt payloads"), (2, "received AUTHENTICATION_FAILED notify")]
)
async def test_a_wrong_secret_is_a_negotiation_error_with_charons_reason(version, reason):
    async with peers() as bed:
        ends = await load(bed, version=version)
        wrong = msgspec.structs.replace(ends.initiator, auth=Psk(secret="not the partner's"))
        await bed.node(A).peer.load(wrong)
        with pytest.raises(errors.NegotiationError, match=reason):
            await bed.node(A).peer.initiate(CONNECTION, timeout=3)


async def test_a_certificate_of_another_ca_is_a_negotiation_error():
    async with peers() as bed:
        await load(bed, "cert")
        stranger = tunnel(bed.plan, A, B, credentials(bed.plan, ENDS, "cert")).initiator
        await bed.node(A).peer.load(stranger)
        with pytest.raises(errors.NegotiationError, match="AUTHENTICATION_FAILED"):
            await bed.node(A).peer.initiate(CONNECTION)


async def test_a_partner_that_is_silent_is_a_negotiation_error_and_other_calls_go_on_meanwhile():
    async with peers() as bed:
        await load(bed, keyingtries=0)
        await silence(bed, B)
        peer = bed.node(A).peer
        half_open = []

        async def initiate():
            with pytest.raises(errors.NegotiationError, match="not established after 2000ms"):
                await peer.initiate(CONNECTION, timeout=2)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(initiate)
            while not half_open:
                half_open = await peer.list_sas()
        assert half_open[0].state == "CONNECTING"
        assert await peer.terminate(Terminate(ike_id=half_open[0].unique_id, force=True)) == 1


async def test_a_rekey_that_the_partner_does_not_answer_is_a_negotiation_error():
    async with peers() as bed:
        await load(bed)
        await bed.node(A).peer.initiate(CONNECTION)
        await silence(bed, B)
        with pytest.raises(errors.NegotiationError, match="rekeying CHILD_SA inner #1 did not end in time"):
            await bed.node(A).peer.rekey(Rekey(child=CHILD, timeout=1))


async def test_a_caller_that_goes_away_leaves_the_peer_at_work():
    async with peers() as bed:
        await load(bed, keyingtries=0)
        await silence(bed, B)
        path = bed.runtime.run_dir(A) / CONTROL_SOCKET
        async with connect(A, path, lambda _: None) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(Peer(client).initiate, CONNECTION)
            while not await bed.node(A).peer.list_sas():
                pass
            tasks.cancel_scope.cancel()
        assert (await bed.node(A).peer.status()).half_open == 1


async def test_a_request_for_an_sa_that_is_not_there_is_a_parameter_error():
    async with peers() as bed:
        for asked in (
            bed.node(A).peer.rekey(Rekey(child="x")),
            bed.node(A).peer.terminate(Terminate(ike_id=9)),
        ):
            with pytest.raises(errors.ParameterError, match="no SA"):
                await asked


async def test_no_secret_reaches_a_log_an_event_or_an_error(tmp_path):
    texts = []
    async with peers(log_dir=tmp_path) as bed:
        for auth in ("psk", "cert"):
            ends = await load(bed, auth)
            await bed.node(A).peer.initiate(CONNECTION)
            await bed.node(A).peer.terminate(Terminate(connection=CONNECTION))
            secret = ends.initiator.auth
            hidden = [secret.secret] if auth == "psk" else secret.key.splitlines()[1:-1]
            other = tunnel(bed.plan, A, B, credentials(bed.plan, ENDS, auth)).initiator
            await bed.node(A).peer.load(other)
            with pytest.raises(errors.NegotiationError) as refused:
                await bed.node(A).peer.initiate(CONNECTION)
            texts.append(str(refused.value))
            texts += [str(event) for event in bed.events.past]
            texts += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
            for line in hidden:
                assert not [text for text in texts if line in text]
    assert (tmp_path / A / "charon.log").stat().st_size > 0


async def test_counters_count_the_messages_of_a_negotiation():
    async with peers() as bed:
        await load(bed)
        await bed.node(A).peer.initiate(CONNECTION)
        counters = await bed.node(A).peer.counters()
        assert (counters["ike-init-out-req"], counters["ike-auth-in-resp"]) == (1, 1)
