"""The fuzzer's short run, and the same parsers under Hypothesis. The long run: tests/unit/ike_fuzz.py."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ike_fuzz import Target, chains, corpus, datagrams, fuzz, parse_everything, with_length

from nodes.ike.messages.attributes import encode_attributes, parse_attributes
from nodes.ike.messages.header import HEADER, ExchangeType, parse_header
from nodes.ike.messages.malformed import MalformedError
from nodes.ike.messages.payloads import MAX_PAYLOADS, Payload, PayloadType, encode_chain, parse_chain
from nodes.ike.messages.sa_payload import Proposal, Transform, encode_sa, parse_sa

body = st.binary(max_size=300)
payload = st.builds(Payload, st.sampled_from([PayloadType.SA, PayloadType.NONCE, PayloadType.HASH]), body)
attribute = st.tuples(st.integers(0, 0x7FFF), st.integers(0, 2**64 - 1))
transform = st.builds(
    Transform,
    st.integers(0, 255),
    st.integers(0, 255),
    st.lists(attribute, max_size=8).map(encode_attributes),
)
proposal = st.builds(
    Proposal,
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(max_size=16),
    st.lists(transform, min_size=1, max_size=4).map(tuple),
)


def test_seeded_mutations_raise_nothing_but_the_declared_error():
    outcome = fuzz(12_000, seed=20_261_122)
    assert outcome["chain parsed"] > 100
    assert outcome["chain refused"] > 1000
    assert outcome["datagrams heard"] == outcome["authentic messages heard"] == 3000
    assert outcome["tunnels"] > 1  # some were believed: what came after the hash was authentic


def test_the_recorded_messages_are_parsed():
    assert len(corpus()) >= 20
    for datagram in datagrams():
        assert parse_header(datagram).length == len(datagram)
    for first, octets in chains():
        parse_everything(first, octets)


@settings(max_examples=300, deadline=None)
@given(first=st.integers(0, 255), octets=st.binary(max_size=600))
def test_any_octets_are_parsed_or_refused(first, octets):
    try:
        parse_everything(first, octets)
    except MalformedError:
        pass


@settings(max_examples=200, deadline=None)
@given(octets=st.binary(max_size=300), cookies=st.booleans(), exchange=st.sampled_from([2, 5, 32, 4, 0]))
def test_an_endpoint_takes_any_octets(octets, cookies, exchange):
    head = octets[:18].ljust(18, b"\1") + bytes([exchange, 1]) + bytes(8)
    message = with_length(head + octets[18:])
    target = shared_target()
    target.hear(target.with_cookies(message) if cookies else message)
    target.renew()


_targets: list[Target] = []


def shared_target():
    """One endpoint for all examples: to make another for each would be most of the work."""
    if not _targets:
        _targets.append(Target())
    return _targets[0]


@given(st.lists(payload, max_size=MAX_PAYLOADS))
def test_a_chain_that_is_encoded_is_parsed_as_it_was(payloads):
    first = int(payloads[0].type) if payloads else 0
    assert parse_chain(first, encode_chain(payloads)) == tuple(payloads)


@given(st.lists(proposal, min_size=1, max_size=4))
def test_an_sa_payload_that_is_encoded_is_parsed_as_it_was(proposals):
    assert list(parse_sa(encode_sa(proposals))) == proposals


@given(st.lists(attribute, max_size=8))
def test_attributes_that_are_encoded_are_parsed_as_they_were(attributes):
    assert list(parse_attributes(encode_attributes(attributes))) == attributes


def test_a_chain_of_too_many_payloads_is_refused():
    chain = encode_chain([Payload(PayloadType.VENDOR_ID, b"")] * (MAX_PAYLOADS + 1))
    with pytest.raises(MalformedError, match="more than 64 payloads"):
        parse_chain(PayloadType.VENDOR_ID, chain)


def test_a_payload_of_no_length_does_not_loop():
    with pytest.raises(MalformedError, match="a payload of 0 octets"):
        parse_chain(PayloadType.NONCE, bytes([PayloadType.NONCE, 0, 0, 0]) * 4)


def test_a_message_of_another_major_version_is_refused():
    message = bytearray(datagrams()[0])
    message[17] = 0x20
    with pytest.raises(MalformedError, match="major version 2"):
        parse_header(bytes(message))


def test_an_authentic_message_with_malformed_payloads_is_answered_and_raises_nothing():
    target = Target()
    target.hear(target.authentic(ExchangeType.QUICK_MODE, PayloadType.SA, bytes(4) * 8))
    target.hear(target.authentic(ExchangeType.INFORMATIONAL, PayloadType.DELETE, bytes(HEADER)))
    assert sum(target._side.endpoint.rejections.counts.values()) >= 1
