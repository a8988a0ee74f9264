"""IKE messages as the ladder shows them: payloads, numbers in the exchange, repetitions."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_examples import COOKIE_A, EVENTS, ike, write_evidence

from orchestrator.capture.classify import classify
from orchestrator.evidence.read import read_evidence
from orchestrator.report.ike_payloads import chain
from orchestrator.report.ladder import ike_messages
from orchestrator.report.moments import Frames
from orchestrator.report.nodes_seen import names_by_address


def test_the_payloads_of_a_clear_ikev1_message_are_named():
    found = chain(ike(2, payloads=((1, b"sa"), (13, b"a"), (13, b"b"))))
    assert found.payloads == ("SA", "V", "V")
    assert found.problem == ""


def test_an_encrypted_ikev1_message_says_no_more():
    assert chain(ike(32, 5, flags=1, first=8, body=b"x" * 40)).payloads == ("encrypted",)


def test_an_ikev2_message_is_read_up_to_what_is_encrypted():
    clear = ike(34, version=2, flags=8, payloads=((33, b"sa"), (40, b"n"), (41, b"\0\0\x40\x04abcd")))
    assert chain(clear).payloads == ("SA", "No", "N(NAT_DETECTION_SOURCE_IP)")
    secret = ike(35, 1, version=2, flags=8, payloads=((46, b"x" * 30),))
    assert chain(secret).payloads == ("SK{encrypted}",)


def test_a_notify_is_named_by_its_type():
    notify = struct.pack(">IBBH", 1, 1, 0, 14)
    assert chain(ike(5, 9, payloads=((11, notify),))).notifies == ("NO-PROPOSAL-CHOSEN",)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"short", "5 octets are no IKE header"),
        (ike(2, first=1), "SA would begin at octet 28, where the message ends"),
        (ike(2, first=1, body=b"\0\0\0\2"), "SA at octet 28 says that it has 2 octets"),
        (ike(2, first=1, body=b"\0\0\xff\xff"), "SA at octet 28 says that it has 65535 octets"),
        (ike(2, payloads=((1, b"sa"),))[:-1], "SA at octet 28 says that it has 6 octets"),
        (ike(2, payloads=((1, b"sa"),)) + b"more", "the header says 34 octets, there are 38"),
        (ike(2, payloads=((1, b""),) * 100), "more than 64 payloads"),
    ],
)
def test_a_malformed_chain_says_where_it_ends(message, problem):
    assert chain(message).problem == problem


@given(st.binary(max_size=300), st.sampled_from([0x10, 0x20]))
def test_no_octets_upset_the_parser(octets, version):
    message = bytearray(octets)
    if len(message) > 17:
        message[17] = version
    assert isinstance(chain(bytes(message)).problem, str)


@pytest.fixture
def messages(tmp_path):
    capture = read_evidence(write_evidence(tmp_path / "e")).capture
    return ike_messages(Frames.of(capture), classify(capture.packets), names_by_address(EVENTS))


def test_each_message_has_its_packet_its_ends_and_its_number(messages):
    found = [(one.packet, one.source, one.destination, one.exchange, one.number) for one in messages]
    assert found == [
        (1, "peer-a", "peer-b", "Main Mode", 1),
        (2, "peer-b", "peer-a", "Main Mode", 2),
        (3, "peer-a", "peer-b", "Quick Mode", 1),
        (4, "peer-b", "peer-a", "Quick Mode", 2),
        (5, "peer-a", "peer-b", "Quick Mode", 3),
        (9, "peer-a", "peer-b", "Quick Mode", 3),
    ]
    assert messages[0].initiator_spi == COOKIE_A.hex()
    assert [one.message_id for one in messages] == [0, 0, 7, 7, 7, 7]


def test_a_retransmission_names_the_packet_that_it_repeats(messages):
    assert [one.repeats for one in messages] == [None, None, None, None, None, 5]
    assert messages[-1].repeats_after_ns == 4_000_000_000


def test_the_exchange_is_what_messages_have_in_common(messages):
    first, second, *quick = [one.key for one in messages]
    assert first == second
    assert len(set(quick)) == 1
    assert quick[0] != first


def test_an_address_that_no_node_is_known_to_have_stands_for_itself(tmp_path):
    capture = read_evidence(write_evidence(tmp_path / "e")).capture
    first = ike_messages(Frames.of(capture), classify(capture.packets), {})[0]
    assert (first.source, first.destination) == ("fd00::a", "fd00::b")
