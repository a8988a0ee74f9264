"""The kernel's XFRM: what ip is told, and what netlink tells."""

import socket
import struct

from esp_packets import OUR_INNER, OUR_TS, OURS, THEIR_INNER, THEIR_TS, THEIRS, esp_sa
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.esp.sa import Limits, Policy
from nodes.ike.dataplane import xfrm_words as words
from nodes.ike.dataplane.xfrm_messages import (
    NEVER,
    Acquire,
    Done,
    Expire,
    Sequence,
    State,
    list_states,
    tell_sequence_numbers,
    told,
)

SELECTOR = struct.pack(
    "=16s16sHHHHHBBB3xiI", THEIR_INNER.packed, OUR_INNER.packed, 0, 0, 0, 0, 10, 128, 128, 0, 0, 0
)
"""``struct xfrm_selector``"""
ID = struct.pack("=16sIB3x", OURS.packed, socket.htonl(0x1234ABCD), 50)
"""``struct xfrm_id``"""


def netlink(kind, body):
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def usersa(octets=1000, packets=10, used=77, replays=3, failures=2):
    """``struct xfrm_usersa_info``"""
    body = SELECTOR + ID + THEIRS.packed + struct.pack("=8Q", *[2**64 - 1] * 8)
    body += struct.pack("=4Q", octets, packets, 55, used) + struct.pack("=3I", 0, replays, failures)
    return body + struct.pack("=IIHBBB7x", 0, 1, 10, 1, 64, 0)


def test_an_acquire_has_the_inner_addresses():
    body = ID + THEIRS.packed + SELECTOR + bytes(168 + 16)
    assert list(told(netlink(0x17, body))) == [Acquire(OUR_INNER, THEIR_INNER)]


def test_a_state_has_what_it_carried():
    state = State(OURS, 0x1234ABCD, 10, 1000, 3, 2)
    assert len(usersa()) == 224
    assert list(told(netlink(0x10, usersa()) + netlink(3, bytes(4)))) == [state, Done(0)]


def test_an_expire_is_soft_or_hard():
    for hard in (False, True):
        body = usersa() + bytes([hard]) + bytes(7)
        assert list(told(netlink(0x18, body))) == [Expire(OURS, 0x1234ABCD, hard, 10, 1000)]


def test_a_sequence_number_that_was_taken_is_told_and_a_changed_threshold_is_not():
    for flags, expected in ((16, [Sequence(OURS, 0x1234ABCD)]), (64, []), (32, [])):
        body = OURS.packed + struct.pack("=IHBx", socket.htonl(0x1234ABCD), 10, 50)
        body += THEIRS.packed + struct.pack("=II", flags, 1)
        assert list(told(netlink(0x1E, body))) == expected


def test_a_refusal_has_its_number():
    assert list(told(netlink(2, struct.pack("=i", -3)))) == [Done(3)]


def test_requests_have_their_length_and_flags():
    assert struct.unpack_from("=IHH", list_states()) == (len(list_states()), 0x12, 0x301)
    request = tell_sequence_numbers(OURS, 0x1234ABCD, NEVER)
    assert struct.unpack_from("=IHH", request) == (len(request), 0x1E, 0x105)
    assert request[16:36] == OURS.packed + bytes.fromhex("1234abcd")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_octets_of_any_kind_tell_nothing_false(octets):
    list(told(octets))


@settings(deadline=None)
@given(st.sampled_from([0x10, 0x17, 0x18, 0x1E, 2, 3]), st.binary(max_size=300))
def test_messages_of_any_length_are_read(kind, body):
    list(told(netlink(kind, body)))


def test_an_inbound_state_in_the_words_of_ip():
    sa = esp_sa(
        0x1234, key=b"k", encap=(4500, 4501), esn=True, replay_window=128, limits=Limits(hard_packets=9)
    )
    assert words.add_state(sa, "in") == (
        "xfrm state add src fd00::b dst fd00::a proto esp spi 0x00001234 reqid 1 mode tunnel"
        f" replay-window 128 flag esn aead rfc4106(gcm(aes)) 0x{b'k'.hex() * 20} 128"
        " encap espinudp 4501 4500 :: limit packet-hard 9"
        " sel src fd00:b::/64 dst fd00:a::/64"
    )


def test_an_outbound_state_in_the_words_of_ip():
    sa = esp_sa(0x1234, encryption="aes-cbc", key=b"k")
    assert words.add_state(sa, "out") == (
        "xfrm state add src fd00::a dst fd00::b proto esp spi 0x00001234 reqid 1 mode tunnel replay-window 0"
        f" auth-trunc hmac(sha256) 0x{b'k'.hex() * 32} 128 enc cbc(aes) 0x{b'k'.hex() * 16}"
        " sel src fd00:a::/64 dst fd00:b::/64"
    )
    assert (
        words.delete_state(sa, "out") == "xfrm state delete src fd00::a dst fd00::b proto esp spi 0x00001234"
    )


def test_a_policy_in_the_words_of_ip():
    policy = Policy(reqid=5, local=OURS, remote=THEIRS, local_ts=OUR_TS, remote_ts=THEIR_TS)
    out, into, forward = words.policies("add", policy)
    assert out == (
        "xfrm policy add src fd00:a::/64 dst fd00:b::/64 dir out priority 872"
        " tmpl src fd00::a dst fd00::b proto esp reqid 5 mode tunnel"
    )
    assert into.startswith(
        "xfrm policy add src fd00:b::/64 dst fd00:a::/64 dir in priority 872 tmpl src fd00::b"
    )
    assert " dir fwd " in forward
    assert words.policies("delete", policy)[0] == "xfrm policy delete src fd00:a::/64 dst fd00:b::/64 dir out"
