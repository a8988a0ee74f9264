"""The abnormal-information message: what it looks like, and that nothing else is taken for one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.isakmp import ISAKMP

from nodes.abnormality.message import NOTIFY_TYPES, OCTETS, REASONS, AbnormalInformation, build, parse

COOKIE = st.binary(min_size=8, max_size=8)
MESSAGES = st.builds(AbnormalInformation, st.sampled_from([1, 2]), COOKIE, COOKIE, st.sampled_from(REASONS))
SAID = AbnormalInformation(1, b"initiatr", b"respondr", "psk")


@given(MESSAGES, st.integers(0, 2**32 - 1))
def test_what_is_built_is_read_back(said, message_id):
    octets = build(said, message_id=message_id)
    assert len(octets) == OCTETS[said.version]
    assert parse(octets) == said


def test_in_ikev1_it_is_an_informational_exchange_of_one_notification():
    octets = build(SAID, message_id=77)
    header = ISAKMP(octets)
    assert (header.init_cookie, header.resp_cookie) == (b"initiatr", b"respondr")
    assert (header.version, header.exch_type, int(header.flags), header.id) == (0x10, 5, 0, 77)
    assert (header.next_payload, header.length) == (11, len(octets))
    notify = header.payload
    assert (notify.doi, notify.proto, notify.notify_msg_type) == (1, 1, NOTIFY_TYPES[1])
    assert (notify.SPIsize, bytes(notify.SPI)) == (16, b"initiatrrespondr")


def test_in_ikev2_it_is_an_informational_response_outside_of_any_exchange():
    octets = build(SAID._replace(version=2), message_id=0)
    assert octets[16:20] == bytes([41, 0x20, 37, 0x20])
    assert octets[28:36] == b"\0\0" + (len(octets) - 28).to_bytes(2, "big") + b"\0\0\xab\xed"


def test_its_types_are_private_and_statuses():
    assert 32768 <= NOTIFY_TYPES[1] <= 40959
    assert 40960 <= NOTIFY_TYPES[2] <= 65535


def test_a_reason_that_has_no_number_is_told_as_another():
    assert parse(build(SAID._replace(reason="refused"), message_id=0)).reason == "other"


@given(MESSAGES, st.data())
def test_a_message_with_an_octet_changed_says_something_else_or_is_none(said, data):
    octets = bytearray(build(said, message_id=5))
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= data.draw(st.integers(1, 255))
    found = parse(bytes(octets))
    if 20 <= place < 24:
        assert found == said  # the message ID, which says nothing
    elif found is not None:
        assert found != said


@given(MESSAGES, st.integers(0, 200))
def test_a_message_that_is_cut_short_or_goes_on_is_none(said, length):
    octets = build(said, message_id=5)
    if length != len(octets):
        assert parse((octets + bytes(200))[:length]) is None


@given(st.binary(max_size=200))
@example(bytes(OCTETS[1]))
@example(bytes(OCTETS[2]))
def test_any_octets_are_read_without_harm(octets):
    assert parse(octets) is None


@pytest.mark.parametrize("version", [1, 2])
@given(st.data())
def test_a_header_of_the_right_shape_alone_is_none(version, data):
    octets = build(SAID._replace(version=version), message_id=0)
    rest = data.draw(st.binary(min_size=len(octets) - 28, max_size=len(octets) - 28))
    assert rest == octets[28:] or parse(octets[:28] + rest) is None
