"""Forged abnormal-information messages: from a third node, in a partner's name, they change nothing."""

import anyio
import pytest
from abnormal_peers import (
    ACCEPTED,
    INACTIVE,
    PATIENT,
    REFUSED,
    ends_of,
    guarded_peers,
    load_wrong_secret,
    seen,
)
from two_peers import HEARD, A, B, ping, silence

from nodes.peer.model import Terminate
from orchestrator.tunnel import CONNECTION

pytestmark = pytest.mark.anyio

HOST = "host"
FORGE = """
import socket, struct, sys
from nodes.abnormality.message import AbnormalInformation, build
source, target, port, version, initiator, responder, count, step, reason = sys.argv[1:]
port, version, count, step = int(port), int(version), int(count), int(step)
wire = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
wire.setsockopt(socket.IPPROTO_IPV6, 36, 1)  # IPV6_HDRINCL
ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
marker = bytes(4) if port == 4500 else b""
first = int(initiator, 16)
for number in range(count):
    cookies = ((first + number * step) % 2**64).to_bytes(8, "big"), bytes.fromhex(responder)
    payload = marker + build(AbnormalInformation(version, *cookies, reason), message_id=number)
    datagram = struct.pack("!HHHH", port, port, 8 + len(payload), 0) + payload
    covered = ends + struct.pack("!IxxxB", len(datagram), 17) + datagram
    total = sum(struct.unpack(f"!{len(covered) // 2}H", covered))
    total = (total & 0xFFFF) + (total >> 16)
    total = ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF
    datagram = datagram[:6] + struct.pack("!H", total or 0xFFFF) + datagram[8:]
    header = struct.pack("!IHBB", 6 << 28, len(datagram), 17, 64) + ends
    while True:
        try:
            wire.sendto(header + datagram, (target, 0))
            break
        except OSError as error:
            if error.errno != 105:  # ENOBUFS: the link has no room for the moment
                raise
"""
"""Sends messages in another node's name, the initiator's cookie raised by a step each time."""


async def forge(bed, sa, *, count=1, step=0, initiator=None, responder=None, source=B, reason="psk"):
    """Send forged messages to the sender, with the cookies of an IKE SA but for what is given."""
    argv = [
        *(bed.node(source).address, bed.node(A).address, str(sa.local_port), str(sa.version)),
        *(initiator or sa.initiator_spi, responder or sa.responder_spi),
        *(str(count), str(step), reason),
    ]
    await bed.node(HOST).exec([*bed.runtime.python, "-c", FORGE, *argv])


async def in_flight(bed, version):
    """Let the sender negotiate with a partner that does not hear; the half-open IKE SA."""
    ends = ends_of(bed, version)
    await bed.node(B).peer.load(ends.responder)
    await bed.node(A).peer.load(ends.initiator)
    await silence(bed, B)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_initiate_in_vain, bed)
        while not (sas := await bed.node(A).peer.list_sas()):
            pass
        tasks.cancel_scope.cancel()
    return sas[0]


async def _initiate_in_vain(bed):
    await bed.node(A).peer.initiate(CONNECTION, timeout=30)


def guarded_three(runtime):
    return guarded_peers(runtime, nodes=(A, B, HOST), timers=PATIENT)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "forged",
    [{"initiator": "1122334455667788"}, {"responder": "1122334455667788"}, {"source": HOST}],
    ids=["initiator's cookie", "responder's cookie", "address"],
)
async def test_one_with_a_wrong_cookie_or_address_changes_nothing(runtime, version, forged):
    async with guarded_three(runtime) as bed:
        sa = await in_flight(bed, version)
        await forge(bed, sa, **forged)
        refused = await bed.events.wait_for(REFUSED, node=A, timeout=HEARD)
        assert refused.data["messages"] == 1
        assert seen(bed, A, INACTIVE, ACCEPTED) == []
        assert [one.unique_id for one in await bed.node(A).peer.list_sas()] == [sa.unique_id]
        await forge(bed, sa)  # and with exactly these cookies it is believed: the test can tell
        await bed.events.wait_for(INACTIVE, node=A, timeout=HEARD)


@pytest.mark.parametrize("version", [1, 2])
async def test_one_for_no_negotiation_in_flight_changes_nothing(runtime, version):
    async with guarded_three(runtime) as bed:
        ends = ends_of(bed, version)
        await bed.node(B).peer.load(ends.responder)
        await bed.node(A).peer.load(ends.initiator)
        made = await bed.node(A).peer.initiate(CONNECTION)
        await forge(bed, made.ike)  # its cookies, but it is established
        await bed.events.wait_for(REFUSED, node=A, timeout=HEARD)
        assert seen(bed, A, INACTIVE, ACCEPTED) == []
        assert await ping(bed, A, B)
        await bed.node(A).peer.terminate(Terminate(connection=CONNECTION))
        since = len(bed.events.past)
        await forge(bed, made.ike)
        await bed.events.wait_for(REFUSED, node=A, since=since, timeout=HEARD)
        assert seen(bed, A, INACTIVE, ACCEPTED) == []


async def test_many_of_them_change_nothing_and_cost_little(runtime):
    """5,000 here; ``python tests/integration/test_abnormality_forgery.py`` sends 100,000."""
    async with guarded_three(runtime) as bed:
        spent, half_open = await many(bed, 5_000)
        assert spent < 5.0  # s of the guard's CPU time: a bound, and no measurement
        assert half_open == 1


async def many(bed, count):
    """Forge so many, with other cookies each; the guard's CPU time, s, and what is half-open after it."""
    sa = await in_flight(bed, 1)
    before = await _cpu_time(bed)
    await forge(bed, sa, count=count, step=0x9E3779B97F4A7C15, initiator="1")
    await bed.events.wait_for(REFUSED, node=A, timeout=HEARD)
    after = await _cpu_time(bed)
    assert seen(bed, A, INACTIVE, ACCEPTED) == []
    half_open = (await bed.node(A).peer.status()).half_open
    await forge(bed, sa)  # the real one gets through after them
    await bed.events.wait_for(INACTIVE, node=A, timeout=HEARD)
    return after - before, half_open


async def _cpu_time(bed):
    pid = (await bed.node(A).abnormality.status()).pid
    fields = (await bed.node(A).exec(["cat", f"/proc/{pid}/stat"])).stdout.rsplit(b")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def test_a_word_of_being_mended_is_believed_only_with_the_cookies_of_what_failed(runtime):
    async with guarded_three(runtime) as bed:
        await load_wrong_secret(bed, 1)
        with pytest.raises(Exception, match="inactive"):
            await bed.node(A).peer.initiate(CONNECTION, timeout=10)
        failed = (await bed.events.wait_for("abnormality.message.sent", node=B, timeout=HEARD)).data
        argv = [
            *(bed.node(A).address, bed.node(B).address, "4500", "1"),
            *("1122334455667788", failed["responder_spi"], "100", "1", "mended"),
        ]
        await bed.node(HOST).exec([*bed.runtime.python, "-c", FORGE, *argv])
        refused = await bed.events.wait_for(REFUSED, node=B, timeout=HEARD)
        assert refused.data["messages"] == 100
        (state,) = (await bed.node(B).abnormality.status()).partners
        assert state.state == "inactive"


async def _by_hand():
    async with guarded_three("namespaces") as bed:
        spent, half_open = await many(bed, 100_000)
        counted = sum(event.data["messages"] for event in seen(bed, A, REFUSED))
        print(f"100,000 forged messages: {spent:.2f} s of the guard's CPU time, {counted} read and refused")
        print(f"half-open before and after: 1 and {half_open}")


if __name__ == "__main__":
    anyio.run(_by_hand)
