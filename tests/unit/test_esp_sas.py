"""ESP packets are sealed and opened as RFC 4303, RFC 4106 and RFC 4868 say; what is hostile is dropped."""

import itertools
import struct

import msgspec
import pytest
from esp_packets import (
    OUR_INNER,
    OURS,
    THEIR_INNER,
    THEIRS,
    esp_sa,
    inner_packet,
    opened,
    sealed,
    turned,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation

from nodes.esp.inbound import InboundSa, RefusedError
from nodes.esp.outbound import NO_NEXT_HEADER, ExpiredError, OutboundSa
from nodes.esp.sa import Limits
from nodes.esp.transform import ICV, transform

WAYS = [
    {"encryption": encryption, "esn": esn}
    for encryption in ("aes-gcm-16", "aes-cbc")
    for esn in (False, True)
]
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way['encryption']} {way['esn'] * 'esn'}")


def pair(**way):
    """An SA's outbound half at one end, and its inbound half at the other."""
    sa = esp_sa(**way)
    return OutboundSa(sa), InboundSa(turned(sa))


def reason(inbound, packet):
    with pytest.raises(RefusedError) as refused:
        opened(inbound, packet)
    return refused.value.reason


def handmade(sa, plaintext, sequence=1):
    """A packet with this plaintext, trailer and all, as a partner with the keys can make it."""
    cipher = transform(sa)
    buffer = memoryview(bytearray(len(plaintext) + 512))
    buffer[cipher.header : cipher.header + len(plaintext)] = plaintext
    return bytes(buffer[: cipher.seal(buffer, 0, cipher.header + len(plaintext), sequence)])


def scapy_association(sa, crypt_key=None):
    gcm = sa.encryption == "aes-gcm-16"
    return SecurityAssociation(
        ESP,
        spi=sa.spi,
        crypt_algo="AES-GCM" if gcm else "AES-CBC",
        crypt_key=crypt_key or sa.encryption_key + sa.salt,
        auth_algo=None if gcm else "SHA2-256-128",
        auth_key=None if gcm else sa.integrity_key,
        tunnel_header=IPv6(src=str(OURS), dst=str(THEIRS)),
        esn_en=sa.esn,
        esn=0,
    )


@ways
@pytest.mark.parametrize("payload", [0, 1, 2, 3, 4, 15, 16, 17, 1200])
def test_what_is_sealed_is_opened(way, payload):
    outbound, inbound = pair(**way)
    for number in range(3):
        inner = inner_packet(bytes([number]) * payload)
        assert opened(inbound, sealed(outbound, inner)) == inner


@ways
def test_scapy_opens_what_we_seal(way):
    outbound, _ = pair(**way)
    inner = inner_packet(b"hello")
    outer = IPv6(src=str(OURS), dst=str(THEIRS), nh=50) / ESP(sealed(outbound, inner))
    association = scapy_association(outbound.sa)
    got = association.decrypt(IPv6(bytes(outer)), esn_en=way["esn"], esn=0)
    assert bytes(got) == inner


@ways
def test_we_open_what_scapy_seals(way):
    _, inbound = pair(**way)
    association = scapy_association(inbound.sa)
    inner = inner_packet(b"hello, this is a longer packet")
    outer = association.encrypt(IPv6(inner), seq_num=9, esn_en=way["esn"], esn=0)
    assert opened(inbound, bytes(outer[ESP])) == inner


def test_aes_gcm_is_that_of_rfc_4106():
    """Test case 1 of draft-mcgrew-gcm-test-01: a packet of somebody else's, its tag and a DNS query in it."""
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308")
    salt = bytes.fromhex("cafebabe")
    spi, sequence = 0x0000A5F8, 0x0000000A
    iv = bytes.fromhex("facedbaddecaf888")
    plaintext = bytes.fromhex(
        "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100"
        "0001000000000000037369700963796265726369747902646b00000100010001"
    )
    ciphertext = bytes.fromhex(
        "deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c"
        "3de81827c10e9a4f51330d0eec416642cfbb85a5b47e48a4ec3b9ba95d918bd1"
        "83b70d3aa8bc6ee4c309e9d85a41ad4a"
    )
    sa = esp_sa(spi, encryption_key=key, salt=salt)
    packet = struct.pack(">II", spi, sequence) + iv + ciphertext
    buffer = memoryview(bytearray(packet))
    end = transform(sa).open(buffer, 0, len(packet), sequence)
    assert bytes(buffer[16:end]) == plaintext


def test_the_iv_of_aes_gcm_never_comes_twice():
    outbound, _ = pair()
    ivs = [sealed(outbound, inner_packet())[8:16] for _ in range(1000)]
    assert len(set(ivs)) == 1000


def test_the_iv_of_aes_cbc_cannot_be_told_from_the_last_ciphertext():
    outbound, _ = pair(encryption="aes-cbc")
    packets = [sealed(outbound, inner_packet(b"same")) for _ in range(1000)]
    assert len({packet[8:24] for packet in packets}) == 1000
    assert all(one[-32:-16] != two[8:24] for one, two in itertools.pairwise(packets))


@ways
def test_a_packet_counts_once(way):
    outbound, inbound = pair(**way)
    packet = sealed(outbound, inner_packet())
    opened(inbound, packet)
    assert reason(inbound, packet) == "replay"
    assert inbound.lifetime.replays == 1


@ways
def test_any_octet_that_is_changed_is_found(way):
    outbound, inbound = pair(**way)
    packet = sealed(outbound, inner_packet(b"payload"))
    for place in range(4, len(packet)):  # the SPI found the SA
        forged = bytearray(packet)
        forged[place] ^= 0x40
        assert reason(inbound, forged) == "tag"
    assert not inbound.authenticated
    assert opened(inbound, packet)  # and none of them moved the window


@ways
def test_a_truncated_packet_is_found(way):
    outbound, inbound = pair(**way)
    packet = sealed(outbound, inner_packet(b"payload"))
    for octets in range(8, len(packet)):
        assert reason(inbound, packet[:octets]) == "tag"


def test_a_dummy_packet_is_authenticated_and_nothing_else():
    outbound, inbound = pair()
    assert opened(inbound, sealed(outbound, b"whatever", next_header=NO_NEXT_HEADER)) == b""
    assert inbound.authenticated
    assert inbound.lifetime.refused == 0


def test_padding_for_traffic_flow_confidentiality_is_taken_off():
    outbound, inbound = pair()
    inner = inner_packet(b"inner")
    assert opened(inbound, sealed(outbound, inner + bytes(300))) == inner


@pytest.mark.parametrize(
    ("plaintext", "why"),
    [
        (inner_packet() + b"\x01\x02\x03\x03\x29", None),
        (inner_packet() + b"\x01\x02\x04\x03\x29", "padding"),
        (inner_packet() + b"\xff\x29", "padding"),
        (b"", "padding"),
        (b"\x29", "padding"),
        (b"\x00\x29", "inner packet"),
        (inner_packet() + b"\x00\x04", "next header"),
        (inner_packet() + b"\x00\x06", "next header"),
        (b"\x45" + inner_packet()[1:] + b"\x00\x29", "inner packet"),
        (inner_packet()[:39] + b"\x00\x29", "inner packet"),
        (inner_packet(b"12345678")[:-1] + b"\x00\x29", "inner packet"),
        (inner_packet(source=THEIR_INNER) + b"\x00\x29", "selector"),
        (inner_packet(destination=OUR_INNER) + b"\x00\x29", "selector"),
    ],
)
def test_what_is_inside_is_checked_even_when_it_is_authentic(plaintext, why):
    sa = esp_sa()
    inbound = InboundSa(turned(sa))
    packet = handmade(sa, plaintext)
    if why is None:
        assert opened(inbound, packet) == inner_packet()
    else:
        assert reason(inbound, packet) == why
        assert inbound.lifetime.refused == 1
        assert inbound.authenticated


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None)
@given(octets=st.binary(max_size=200))
def test_hostile_octets_are_dropped(way, octets):
    _, inbound = pair(**way)
    packet = inbound.sa.spi.to_bytes(4, "big") + octets
    with pytest.raises(RefusedError):
        opened(inbound, packet)
    assert not inbound.authenticated


@pytest.mark.parametrize("encryption", ["aes-gcm-16", "aes-cbc"])
@settings(deadline=None)
@given(plaintext=st.binary(max_size=300))
def test_a_hostile_partner_with_the_keys_breaks_nothing(encryption, plaintext):
    sa = esp_sa(encryption=encryption)
    inbound = InboundSa(turned(sa))
    if encryption == "aes-cbc":
        plaintext += bytes(-len(plaintext) % 16)
    try:
        inner = opened(inbound, handmade(sa, plaintext))
    except RefusedError:
        return
    assert inner == b"" or inner[0] >> 4 == 6


def test_the_last_sequence_number_is_the_end():
    outbound, _ = pair()
    outbound._sequence = (1 << 32) - 2
    sealed(outbound, inner_packet())
    with pytest.raises(ExpiredError):
        sealed(outbound, inner_packet())


def test_extended_sequence_numbers_go_on():
    outbound, inbound = pair(esn=True, replay_window=64)
    outbound._sequence = (1 << 32) - 3
    inbound._window.accept((1 << 32) - 3)
    late = sealed(outbound, inner_packet(b"late"))
    for number in range(5):
        assert opened(inbound, sealed(outbound, inner_packet(bytes([number])))) == inner_packet(
            bytes([number])
        )
    assert inbound._window.highest == (1 << 32) + 3
    assert opened(inbound, late) == inner_packet(b"late")  # from before the lower half began anew


def test_a_hard_limit_ends_an_sa_and_each_limit_is_told_once():
    limits = Limits(soft_packets=2, hard_packets=4, soft_octets=50)
    outbound, _ = pair(limits=limits)
    told = []
    for now in range(4):
        sealed(outbound, inner_packet())
        if outbound.lifetime.count(40, now):
            told += [(one.unit, one.severity, one.time_ns) for one in outbound.lifetime.reached(now)]
    assert told == [("packets", "soft", 1), ("octets", "soft", 1), ("packets", "hard", 3)]
    with pytest.raises(ExpiredError):
        sealed(outbound, inner_packet())


def test_no_text_shows_a_key():
    sa = esp_sa(encryption="aes-cbc", key=b"K")
    for text in (repr(sa), str(sa), f"{sa}", repr([sa]), repr(OutboundSa(sa)), repr(pair())):
        assert "KKKK" not in text
        assert (b"K" * 4).hex() not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spi": 255}, "an SPI is between 256"),
        ({"encryption_key": b"k" * 15}, "16, 24 or 32 octets, not 15"),
        ({"salt": b""}, "a salt of 4 octets"),
        ({"integrity": "hmac-sha256-128", "integrity_key": bytes(32)}, "no integrity algorithm"),
        ({"encryption": "aes-cbc"}, "AES-CBC takes HMAC-SHA-256-128"),
        ({"replay_window": 32}, "an anti-replay window is"),
        ({"replay_window": 65}, "an anti-replay window is"),
        ({"encap": (0, 4500)}, "a UDP port is"),
        ({"reqid": 0}, "a reqid is"),
    ],
)
def test_an_sa_that_cannot_be_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        msgspec.structs.replace(esp_sa(), **change)


def test_a_packet_has_the_form_of_rfc_4303():
    outbound, _ = pair()
    inner = inner_packet(b"12345")
    packet = sealed(outbound, inner)
    assert packet[:8] == struct.pack(">II", outbound.sa.spi, 1)
    assert len(packet) == 16 + 48 + ICV  # 45 octets, one of padding, pad length and next header
    assert len(packet) % 4 == 0
