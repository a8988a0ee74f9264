"""Messages and their header, octets to values and back."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import errors
from nodes.terminal.header import (
    OPTION_TYPES,
    FormatError,
    check_option_type,
    destination_options,
    option_data,
    quoted_datagram,
    quoted_option,
)
from nodes.terminal.message import (
    ALL_FLAGS,
    MAC_OCTETS,
    MOST_IDS,
    MOST_MESSAGE,
    MOST_RESULTS,
    MOST_SERVICES,
    Capability,
    Code,
    Kind,
    Lifetimes,
    Listed,
    Message,
    Result,
    decode,
    encode,
    portions,
)

MAC = bytes(MAC_OCTETS)
U8, U16, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))
LISTED = st.builds(Listed, U16, U8, U16, U16)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Any message that fits."""
    budget = draw(st.integers(0, 3))
    return Message(
        kind=draw(st.sampled_from(Kind)),
        context=draw(U64),
        sequence=draw(U64),
        flags=Capability(draw(st.sampled_from([0, 0x20, 0x40, 0x80, 0xC0, 0xE0]))),
        services=tuple(draw(st.lists(LISTED, max_size=4, unique_by=lambda one: one.id))) if budget else (),
        sealed=draw(st.none() | st.binary(min_size=44, max_size=44)),
        lifetimes=draw(st.none() | st.builds(Lifetimes, U32, U32)),
        results=tuple(draw(st.lists(st.builds(Result, U16, U8), max_size=4, unique_by=lambda one: one.id))),
        cookies=tuple(draw(st.lists(st.binary(min_size=8, max_size=8), max_size=2))),
        ids=tuple(draw(st.lists(U16, max_size=8, unique=True))),
        answered=draw(st.none() | U64),
    )


@given(messages())
def test_what_is_encoded_is_decoded_again(message):
    assert decode(encode(message) + MAC) == message


@given(st.binary(max_size=300))
def test_any_octets_are_a_message_or_a_format_error(octets):
    try:
        message = decode(octets)
    except FormatError:
        return
    assert len(octets) <= MOST_MESSAGE
    assert decode(encode(message) + MAC) == message


def test_the_fields_stand_where_the_format_says():
    octets = encode(
        Message(
            kind=Kind.UPDATE_REQUEST,
            context=0x0102030405060708,
            sequence=9,
            flags=Capability.PREFIX | Capability.INTERFACE_ID,
            services=(Listed(1, 6, 0x1F90, 0x0050),),
        )
    )
    assert (
        octets.hex()
        == "11c00000" + "0102030405060708" + "0000000000000009" + "0108" + "00010600" + "1f900050"
    )


@pytest.mark.parametrize(
    ("fields", "octets"),
    [
        ({"lifetimes": Lifetimes(2, 3)}, "03080000000200000003"),
        ({"results": (Result(7, Code.POLICY),)}, "0403000702"),
        ({"cookies": (b"12345678",)}, "05083132333435363738"),
        ({"ids": (1, 2)}, "060400010002"),
        ({"answered": 5}, "07080000000000000005"),
        ({"sealed": bytes(44)}, "022c" + "00" * 44),
    ],
)
def test_each_tlv_has_its_form(fields, octets):
    assert encode(Message(kind=Kind.ERROR, context=1, sequence=1, **fields))[20:].hex() == octets


def test_a_tlv_of_an_unknown_type_is_passed_over():
    known = Message(kind=Kind.SWITCH, context=1, sequence=1, ids=(1, 2))
    octets = encode(known)
    assert decode(octets[:20] + b"\xc8\x03abc" + octets[20:] + MAC) == known


def test_unknown_flags_and_reserved_bits_are_not_looked_at():
    octets = bytearray(encode(Message(kind=Kind.CLOSE, context=1, sequence=1)))
    octets[1] |= 0xFF
    octets[2:4] = b"\xff\xff"
    assert decode(bytes(octets) + MAC).flags == ALL_FLAGS


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "not 0"),
        (b"\x11" + bytes(34), "not 35"),
        (b"\x11" + bytes(255), "not 256"),
        (b"\x21" + bytes(35), "version 2"),
        (b"\x19" + bytes(35), "type 9"),
        (b"\x10" + bytes(35), "type 0"),
        (b"\x11" + bytes(19) + b"\x01" + MAC, "beyond the message's end"),
        (b"\x11" + bytes(19) + b"\x01\x09" + bytes(8) + MAC, "beyond the message's end"),
        (b"\x11" + bytes(19) + b"\x01\x07" + bytes(7) + MAC, "has 8 octets, not 7"),
        (b"\x11" + bytes(19) + (b"\x01\x08" + bytes(8)) * 2 + MAC, "repeats a service id"),
        (b"\x11" + bytes(19) + b"\x02\x10" + bytes(16) + MAC, "has 44 octets, not 16"),
        (b"\x11" + bytes(19) + (b"\x03\x08" + bytes(8)) * 2 + MAC, "a second TLV of type 3"),
        (b"\x12" + bytes(19) + (b"\x04\x03" + bytes(3)) * 2 + MAC, "repeats a service id"),
        (b"\x13" + bytes(19) + (b"\x05\x08" + bytes(8)) * 3 + MAC, "more than 2 cookies"),
        (b"\x15" + bytes(19) + b"\x06\x03" + bytes(3) + MAC, "list of service ids of 3 octets"),
        (b"\x15" + bytes(19) + b"\x06\x00" + MAC, "list of service ids of 0 octets"),
        (b"\x15" + bytes(19) + b"\x06\x04" + bytes(4) + MAC, "repeats a service id"),
    ],
)
def test_what_is_no_message_says_where_it_differs(octets, said):
    with pytest.raises(FormatError, match=said):
        decode(octets)


def test_the_largest_messages_fit_into_one_option():
    services = tuple(Listed(number, 6, number, 80) for number in range(MOST_SERVICES))
    request = Message(
        kind=Kind.UPDATE_REQUEST,
        context=1,
        sequence=1,
        services=services,
        sealed=bytes(44),
        lifetimes=Lifetimes(1, 1),
    )
    response = Message(
        kind=Kind.UPDATE_RESPONSE,
        context=1,
        sequence=1,
        results=tuple(Result(number, 0) for number in range(MOST_RESULTS)),
        cookies=(bytes(8),),
        answered=1,
    )
    backup = Message(
        kind=Kind.BACKUP_REQUEST,
        context=1,
        sequence=1,
        lifetimes=Lifetimes(1, 1),
        cookies=(bytes(8), bytes(8)),
        ids=tuple(range(MOST_IDS)),
    )
    for message in (request, response, backup):
        header = destination_options(encode(message) + MAC)
        assert len(header) + 40 <= 1280
        assert decode(option_data(header)) == message


def test_a_message_that_does_not_fit_is_not_encoded():
    with pytest.raises(ValueError, match="at most 255"):
        encode(Message(kind=Kind.SWITCH, context=1, sequence=1, ids=tuple(range(120))))


def test_portions_leave_nothing_out_and_are_not_too_large():
    assert portions(range(5), 2) == [[0, 1], [2, 3], [4]]
    assert portions([], 2) == []


# the header


@given(st.binary(max_size=255), st.sampled_from(sorted(OPTION_TYPES)))
def test_the_header_holds_the_option_and_fills_whole_units(data, option_type):
    header = destination_options(data, option_type)
    assert len(header) % 8 == 0
    assert len(header) == (header[1] + 1) * 8
    assert header[0] == 59
    assert option_data(header, option_type) == data


@given(st.binary(max_size=400))
def test_any_octets_are_a_header_or_a_format_error(octets):
    for read in (option_data, quoted_option, quoted_datagram):
        try:
            read(octets)
        except FormatError:
            continue


def test_a_header_that_the_kernel_knows_too_is_read_the_same_by_scapy():
    scapy = pytest.importorskip("scapy.layers.inet6")
    data = encode(Message(kind=Kind.CLOSE, context=1, sequence=1)) + MAC
    read = scapy.IPv6ExtHdrDestOpt(destination_options(data))
    assert [option.otype for option in read.options if option.otype > 1] == [0xDE]
    assert bytes(read.options[0].optdata) == data


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (bytes(7), "at least 8"),
        (bytes([59, 1]) + bytes(6), "says 16 octets"),
        (bytes([59, 255]) + bytes(2046), "says 2048 octets, here are 2048|no option"),
        (bytes([59, 0, 0xDE, 5]) + bytes(4), "beyond the header's end"),
        (bytes([59, 0, 0xDE, 0, 0xDE, 0, 0, 0]), "a second option"),
        (bytes([59, 0, 0x05, 2, 0, 0, 0, 0]), "no option of type 0xDE"),
        (bytes([59, 0, 0, 0, 0, 0, 0, 1]), "beyond the header's end"),
    ],
)
def test_a_malformed_header_says_where(header, said):
    with pytest.raises(FormatError, match=said):
        option_data(header)


def test_other_options_beside_ours_are_passed_over():
    header = bytes([59, 1, 0x05, 2, 0, 0, 0xDE, 2, 1, 2, 1, 4, 0, 0, 0, 0])
    assert option_data(header) == b"\x01\x02"


@pytest.mark.parametrize("option_type", [0, 1, 5, 0xC2, 0xDF, 256])
def test_only_experimental_types_that_may_be_chosen_are(option_type):
    with pytest.raises(errors.ParameterError, match="0xDE"):
        check_option_type(option_type)


@pytest.mark.parametrize("option_type", sorted(OPTION_TYPES))
def test_each_type_that_may_be_chosen_is_found_in_a_quoted_packet(option_type):
    header = destination_options(b"data", option_type)
    source, destination = IPv6Address("fd00::1"), IPv6Address("fd00::2")
    packet = b"\x60\0\0\0" + len(header).to_bytes(2, "big") + b"\x3c\x40" + source.packed + destination.packed
    quoted = quoted_option(packet + header)
    assert quoted == (source, destination, option_type, b"data")


def test_a_quoted_datagram_is_read():
    source, destination = IPv6Address("fd00::1"), IPv6Address("fd00::2")
    packet = b"\x60\0\0\0\0\x0c\x11\x40" + source.packed + destination.packed + b"\0\1\0\2\0\x0c\0\0data"
    assert quoted_datagram(packet).data == b"data"
    with pytest.raises(FormatError, match="too little"):
        quoted_datagram(packet[:-1])
