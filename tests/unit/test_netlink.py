"""How netlink frames what it carries."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import netlink
from nodes.errors import ProtocolError

KINDS = st.integers(0, 0x3FFF)
VALUES = st.binary(max_size=40)


@given(st.lists(st.tuples(KINDS, VALUES), max_size=5))
def test_attributes_are_read_as_they_were_written(written):
    octets = b"".join(netlink.attribute(kind, value) for kind, value in written)
    assert len(octets) % 4 == 0
    assert list(netlink.attributes(octets)) == written


def test_an_attribute_that_holds_others_says_so_and_has_its_own_type():
    octets = netlink.nested(4, netlink.attribute(1, b"abcd"), netlink.attribute(2, b"e"))
    assert struct.unpack_from("=HH", octets) == (20, 0x8004)
    assert [(kind, list(netlink.attributes(value))) for kind, value in netlink.attributes(octets)] == [
        (4, [(1, b"abcd"), (2, b"e")])
    ]


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1), VALUES), max_size=5))
def test_messages_of_one_datagram_are_read_one_by_one(written):
    # what follows a body of 1 to 3 octets past a boundary is at the next one
    datagram = b"".join(
        netlink.message(kind, netlink.REQUEST, sequence, body) + bytes(-len(body) % 4)
        for kind, sequence, body in written
    )
    assert list(netlink.messages(datagram)) == written


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        (netlink.ERROR, struct.pack("=i", -17) + bytes(16), 17),
        (netlink.ERROR, bytes(4), 0),
        (netlink.DONE, struct.pack("=i", -4), 4),
        (netlink.DONE, b"", 0),
    ],
)
def test_an_answer_bears_an_errno(kind, body, error):
    assert netlink.Message(kind, 1, body).error == error


def test_an_answer_that_is_cut_short_is_an_error_of_the_protocol():
    with pytest.raises(ProtocolError):
        _ = netlink.Message(netlink.ERROR, 1, b"\0\0").error


@given(st.binary(max_size=200), st.sampled_from([netlink.messages, netlink.attributes]))
def test_octets_of_any_kind_end_in_an_error_of_the_protocol_at_worst(octets, read):
    try:
        list(read(octets))
    except ProtocolError:
        pass


@pytest.mark.parametrize("length", [0, 15, 21])
def test_a_message_of_an_impossible_length_is_an_error_of_the_protocol(length):
    with pytest.raises(ProtocolError, match=f"message of {length} octets in 20"):
        list(netlink.messages(struct.pack("=IHHII", length, 2, 0, 0, 0) + bytes(4)))
