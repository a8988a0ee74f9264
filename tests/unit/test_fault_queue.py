"""What the kernel is told and says about the queue, as octets; and the filters that lead packets to it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import errors
from nodes.faults import nfqueue
from nodes.faults.detour import nft_script, xtables_script
from nodes.faults.nfqueue import Answer, QueuedPacket


def message(kind, body):
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def queued(number, hook, octets):
    header = attribute(1, struct.pack("!IHB", number, 0x86DD, hook))
    return message(
        0x300, struct.pack("!BBH", 10, 0, 7) + header + attribute(6, bytes(4)) + attribute(10, octets)
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]), st.binary(max_size=300))
def test_a_queued_packet_has_its_number_its_direction_and_its_octets(number, hook, octets):
    assert list(nfqueue.read(queued(number, hook, octets))) == [QueuedPacket(number, hook == 3, octets)]


def test_several_messages_in_one_datagram_are_all_read():
    data = queued(1, 3, b"abc") + message(2, struct.pack("=i", -1) + bytes(16)) + queued(2, 1, b"d")
    assert list(nfqueue.read(data)) == [
        QueuedPacket(1, True, b"abc"),
        Answer(1),
        QueuedPacket(2, False, b"d"),
    ]


@given(st.binary(max_size=200))
def test_octets_that_are_no_netlink_are_an_error_of_the_protocol_at_worst(data):
    try:
        list(nfqueue.read(data))
    except errors.ProtocolError:
        pass


def test_a_message_that_is_cut_short_is_an_error():
    with pytest.raises(errors.ProtocolError):
        list(nfqueue.read(queued(1, 3, b"abc")[:-4]))


def test_a_verdict_is_the_kernels_own_layout():
    # struct nlmsghdr, nfgenmsg, then NFQA_VERDICT_HDR: NF_ACCEPT is 1; the lengths are this machine's order
    assert nfqueue.verdict(7, 0x01020304, passes=True) == (
        struct.pack("=IHHII", 32, 0x301, 1, 0, 0)
        + b"\0\0\0\7"
        + struct.pack("=HH", 12, 2)
        + b"\0\0\0\1\1\2\3\4"
    )
    altered = nfqueue.verdict(7, 1, passes=True, octets=b"abcde")
    assert altered.endswith(struct.pack("=HH", 9, 10) + b"abcde\0\0\0")
    assert struct.unpack_from("=I", altered)[0] == len(altered)


def test_both_filters_pass_by_what_nobody_serves_and_ask_for_the_non_esp_marker():
    nft = nft_script()
    assert nft.count("queue flags bypass") == 4
    assert all("@th,64,32 0" in line for line in nft.splitlines() if "4500" in line)
    for marker, words in (("u32", '--u32 "48=0"'), ("bpf", "--bytecode")):
        lines = [line for line in xtables_script(marker).splitlines() if "NFQUEUE" in line]
        assert len(lines) == 8
        assert all("--queue-bypass" in line for line in lines)
        assert all(words in line for line in lines if "4500" in line)
