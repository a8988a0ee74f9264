"""Forged first messages: well-formed, each of another address and another IKE SA."""

import ipaddress

import msgspec
import pytest

from nodes.faults import datagrams, messages
from nodes.flood.forge import packets
from nodes.flood.start import Start
from orchestrator.report.ike_payloads import chain

PREFIX = ipaddress.IPv6Network("fd00:0:0:bad::/64")


def start(**changes):
    asked = {"destination": "fd00::b", "prefix": str(PREFIX), "version": 1, "rate": 1000, "count": 50}
    return msgspec.convert(asked | changes, Start)


def ike(packet):
    datagram = datagrams.read(packet)
    assert (datagram.source_port, datagram.destination_port) == (500, 500)
    assert datagrams.checksum_is_right(packet, datagram)
    return packet[slice(*messages.ike_octets(packet, datagram))]


@pytest.mark.parametrize(
    ("version", "exchange", "payloads"),
    [
        (1, messages.Exchange.MAIN_MODE, ("SA",)),
        (2, messages.Exchange.IKE_SA_INIT, ("SA", "KE", "Ni")),
    ],
)
def test_each_is_a_whole_first_message(version, exchange, payloads):
    for packet in packets(start(version=version)):
        message = messages.read(ike(packet))
        assert (message.version, message.exchange, message.responder_spi) == (version, exchange, bytes(8))
        found = chain(ike(packet))
        assert found.problem == ""
        assert len(found.payloads) == len(payloads)
        assert found.payloads[0] == "SA"


@pytest.mark.parametrize("version", [1, 2])
def test_no_two_have_an_address_or_a_cookie_in_common(version):
    every = list(packets(start(version=version, count=20_000)))
    sources = {datagrams.read(packet).source for packet in every}
    assert len(sources) == 20_000
    assert all(source in PREFIX for source in sources)
    assert len({messages.read(ike(packet)).initiator_spi for packet in every}) == 20_000


def test_the_seed_makes_the_same_flood_again():
    assert list(packets(start(seed=7))) == list(packets(start(seed=7)))
    assert list(packets(start(seed=7))) != list(packets(start(seed=8)))


@pytest.mark.parametrize(
    "changes",
    [
        {"rate": 0},
        {"rate": 20_001},
        {"count": 0},
        {"version": 3},
        {"destination": "nobody"},
        {"prefix": "fd00::/96"},
        {"prefix": "fd00::/129"},
    ],
)
def test_what_is_no_flood_is_refused(changes):
    with pytest.raises(msgspec.ValidationError):
        start(**changes)
