"""The flows of a node, and the life of its addresses, from what the kernel says."""

from ipaddress import IPv6Address

from nodes.terminal.actions import ICMPV6, TCP, UDP, Endpoint, Flow
from nodes.terminal.header import UDP_PORT
from nodes.terminal.inventory import UNSPECIFIED, Inventory
from nodes.terminal.link_addresses import (
    DAD_FAILED,
    DEPRECATED,
    FOR_EVER,
    OPTIMISTIC,
    TENTATIVE,
    Change,
    LinkAddresses,
    Said,
    whole_seconds,
)
from nodes.terminal.sock_diag import OpenSocket, destroy, read

A, A2, B = (IPv6Address(f"fd00::{one}") for one in ("a", "a2", "b"))


def open_socket(protocol, local, remote=None, *, uid=1000, inode=5):
    nowhere = Endpoint(UNSPECIFIED, 0)
    return OpenSocket(
        protocol, 1, Endpoint(*local), Endpoint(*remote) if remote else nowhere, 0, b"c" * 8, uid, inode
    )


def inventory():
    return Inventory({5: "curl"}.get)


def test_a_connected_socket_is_a_service_with_its_owner_until_it_is_gone():
    flows = inventory()
    one = open_socket(TCP, (A, 5000), (B, 80))
    (began,), ended = flows.look([one], [])
    assert (began.flow, began.uid, began.process) == (
        Flow(TCP, Endpoint(A, 5000), Endpoint(B, 80)),
        1000,
        "curl",
    )
    assert not ended
    assert flows.look([one], []) == ([], [])
    assert flows.look([], []) == ([], [began.flow])


def test_what_is_of_this_node_or_link_alone_is_no_service():
    flows = inventory()
    mapped, local = IPv6Address("::ffff:10.0.0.1"), IPv6Address("fe80::1")
    pairs = [(mapped, mapped), (local, local), (IPv6Address("::1"), IPv6Address("::1")), (A, A)]
    assert flows.look([open_socket(TCP, (one, 1), (two, 2)) for one, two in pairs], []) == ([], [])


def test_a_flow_without_a_connection_is_known_by_its_packets_while_its_socket_is_open():
    flows = inventory()
    flow = Flow(UDP, Endpoint(A, 7000), Endpoint(B, 5000))
    bound = open_socket(UDP, (UNSPECIFIED, 7000))
    assert [one.flow for one in flows.look([bound], [flow, flow]).began] == [flow]
    assert flows.loose == {flow}
    assert flows.look([], [flow]).ended == [flow]


def test_a_flow_is_the_same_whatever_address_the_kernel_chooses_for_it_later():
    flows = inventory()
    flow = Flow(UDP, Endpoint(A, 7000), Endpoint(B, 5000))
    other = flow._replace(local=Endpoint(A2, 7000))
    bound = open_socket(UDP, (UNSPECIFIED, 7000))
    flows.look([bound], [flow])
    assert flows.look([bound], [other]) == ([], [])
    assert flows.flows == {flow}
    restarted = inventory()
    restarted.take_up([flow])
    assert restarted.look([bound], [other]) == ([], [])


def test_a_socket_with_an_address_of_its_own_is_not_loose():
    flows = inventory()
    flow = Flow(UDP, Endpoint(A, 7000), Endpoint(B, 5000))
    flows.look([open_socket(UDP, (A, 7000))], [flow])
    assert flows.flows == {flow}
    assert flows.loose == frozenset()


def test_an_echo_needs_no_socket_and_the_terminals_own_messages_are_none():
    flows = inventory()
    echo = Flow(ICMPV6, Endpoint(A, 77), Endpoint(B, 77))
    ours = Flow(UDP, Endpoint(A, UDP_PORT), Endpoint(B, UDP_PORT))
    bound = open_socket(UDP, (UNSPECIFIED, UDP_PORT))
    assert [one.flow for one in flows.look([bound], [echo, ours]).began] == [echo]


def test_a_socket_is_read_as_the_kernel_writes_it_and_ended_by_its_cookie():
    one = open_socket(TCP, (A, 5000), (B, 80))
    request = destroy(one, sequence=3)
    identity = request[24:72]
    answer = (
        bytes([10, 1, 0, 0]) + identity + bytes(12) + (1000).to_bytes(4, "little") + (5).to_bytes(4, "little")
    )
    message = (16 + len(answer)).to_bytes(4, "little") + (20).to_bytes(2, "little") + bytes(10) + answer
    assert list(read(message, TCP)) == [one]


# addresses


def changes(life, *notifications):
    return [one.change for said in notifications for one in life.take(said, 0)]


def test_an_address_is_added_once_it_is_no_longer_tentative_and_then_deprecated_and_expired():
    life = LinkAddresses()
    assert changes(life, Said(True, A, TENTATIVE, 2, 4)) == []
    assert changes(life, Said(True, A, 0, 2, 4), Said(True, A, 0, 1, 3)) == [Change.ADDED]
    assert changes(life, Said(True, A, DEPRECATED, 0, 2)) == [Change.DEPRECATED]
    assert changes(life, Said(True, A, DEPRECATED, 0, 1)) == []
    assert changes(life, Said(False, A)) == [Change.EXPIRED]
    assert changes(life, Said(False, A)) == []


def test_an_optimistic_address_is_usable_at_once_and_a_duplicate_never():
    life = LinkAddresses()
    assert changes(life, Said(True, A, TENTATIVE | OPTIMISTIC), Said(True, A)) == [Change.ADDED]
    assert changes(life, Said(True, A2, TENTATIVE)) == []
    assert changes(life, Said(True, A2, TENTATIVE | DAD_FAILED)) == [Change.DUPLICATE]
    assert A2 not in life


def test_what_was_asked_to_go_did_not_expire():
    life = LinkAddresses()
    life.take(Said(True, A), 0)
    life.removing(A)
    assert changes(life, Said(False, A)) == [Change.REMOVED]


def test_an_address_is_leaving_from_the_moment_that_its_removal_is_asked_for_until_it_is_gone():
    life = LinkAddresses()
    life.take(Said(True, A), 0)
    assert not life.is_leaving(A)
    life.removing(A)
    assert life.is_leaving(A)
    life.take(Said(False, A), 1)
    assert not life.is_leaving(A)


def test_addresses_of_the_link_are_none_of_ours():
    assert changes(LinkAddresses(), Said(True, IPv6Address("fe80::1")), Said(True, IPv6Address("::1"))) == []


def test_durations_are_rounded_up_to_whole_seconds_as_the_kernel_counts():
    assert [whole_seconds(one) for one in (None, 0, 1, 10**9, 10**9 + 1)] == [FOR_EVER, 0, 1, 1, 2]
