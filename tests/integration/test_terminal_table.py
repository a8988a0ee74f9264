"""The table that rewrites packets: how much it takes at once, and who finds it."""

import pytest
from planes_by_hand import (
    A3,
    B2,
    CLIENT,
    TCP,
    TCP_SERVER,
    UDP,
    UDP_SERVER,
    A,
    B,
    addressed_nodes,
    both,
    hopped,
    mirrored,
    plane,
    rewrite,
    talk,
)

from nodes.terminal.rewriting_rules import MOST_REWRITTEN

pytestmark = pytest.mark.root


@pytest.fixture
def nodes(tmp_path):
    with addressed_nodes(tmp_path) as nodes:
        yield nodes


def test_thousands_of_flows_hop_in_one_transaction_and_more_than_there_is_room_for_are_refused(nodes):
    with both(nodes) as planes, talk(nodes, "b", TCP_SERVER) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", CLIENT, "SOCK_STREAM", A, 5000, B) as client:
            assert client.hear() == f"{A} 5000"
            planes[1].tell({"rewrite": [mirrored(hopped(TCP, 5000))]})
            for first in range(0, MOST_REWRITTEN, 4096):
                flows = [hopped(TCP, port) for port in range(first, first + 4096)]
                assert planes[0].tell({"rewrite": flows}) is None
            assert client.ask("10") == f"{A} 5000 10"
            refused = planes[0].tell({"rewrite": [hopped(TCP, 40_000)]})
            assert "as many elements as it may have" in refused["error"]
            assert client.ask("11") == f"{A} 5000 11"


def test_the_table_outlives_its_program_and_the_next_one_takes_it_up(nodes):
    with plane(nodes, "b") as b, talk(nodes, "b", UDP_SERVER) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", CLIENT, "SOCK_DGRAM", A, 0, B) as client:
            port = client.hear().split()[1]
            order = hopped(UDP, int(port), remote=B2)
            b.tell({"rewrite": [mirrored(order)]})
            with plane(nodes, "a") as a:
                assert a.tell("found") is False
                a.tell({"rewrite": [order]})
            assert client.ask("10") == f"{A} {port} 10"
            with plane(nodes, "a") as a:
                assert a.tell("found") is True
                a.tell({"take_up": [order]})
                assert client.ask("11") == f"{A} {port} 11"
                b.tell({"take_up": []}), a.tell({"take_up": []})
                assert client.ask("12") == f"{A} {port} 12"


def test_a_table_that_is_not_what_it_was_taken_for_is_mended(nodes):
    """A duplicate or a missing element makes the kernel refuse the whole change; it is not left half done."""
    with both(nodes) as planes, talk(nodes, "b", UDP_SERVER) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", CLIENT, "SOCK_DGRAM", A, 0, B) as client:
            port = client.hear().split()[1]
            rewrite(planes, hopped(UDP, int(port), remote=B2))
            nodes.run("a", "nft flush map ip6 hopbed_hop out")
            nodes.run("b", "nft flush map ip6 hopbed_hop in")
            rewrite(planes, hopped(UDP, int(port), local=A3, remote=B2))
            assert client.ask("11") == f"{A} {port} 11"
