"""The cryptography of IKEv1, against the RFCs' vectors; that charon has the same keys, the tunnels show."""

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from nodes.ike.crypto.cipher import CbcChain, phase2_iv
from nodes.ike.crypto.groups import Ecp256, Group, Modp2048, key_exchange
from nodes.ike.crypto.keys import AES_BLOCK, keymat, prf, psk_keys
from nodes.ike.messages.malformed import MalformedError, NotifyType

# RFC 5903, section 8.1
I = 0xC88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433  # noqa: E741
G_I = bytes.fromhex(
    "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180"
    "5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3"
)
R = 0xC6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53
G_R = bytes.fromhex(
    "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63"
    "56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB"
)
SHARED = bytes.fromhex("D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE")


@pytest.mark.parametrize(("private", "public", "partner"), [(I, G_I, G_R), (R, G_R, G_I)])
def test_ecp256_is_rfc_5903s(private, public, partner):
    exchange = Ecp256()
    exchange._private = ec.derive_private_key(private, ec.SECP256R1())
    numbers = exchange._private.public_key().public_numbers()
    assert numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big") == public
    assert exchange.secret(partner) == SHARED


@pytest.mark.parametrize("group", Group)
def test_both_ends_have_the_same_secret(group):
    near, far = key_exchange(group), key_exchange(group)
    assert near.secret(far.public) == far.secret(near.public)
    assert near.public != far.public
    assert len(near.public) == {Group.ECP256: 64, Group.MODP2048: 256}[group]


@pytest.mark.parametrize(
    ("exchange", "public"),
    [
        (Ecp256, bytes(64)),
        (Ecp256, b"\1" * 64),
        (Ecp256, b"\1" * 63),
        (Modp2048, bytes(256)),
        (Modp2048, (1).to_bytes(256, "big")),
        (Modp2048, b"\xff" * 256),
        (Modp2048, b"\1" * 255),
    ],
)
def test_a_public_value_that_is_none_is_refused(exchange, public):
    with pytest.raises(MalformedError) as refused:
        exchange().secret(public)
    assert refused.value.notify is NotifyType.INVALID_KEY_INFORMATION


def test_the_prf_is_rfc_4231s():
    assert prf(b"Jefe", b"what do ya want ", b"for nothing?").hex() == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_a_longer_cipher_key_than_the_hash_is_stretched():
    keys = [
        psk_keys(
            b"secret",
            nonces=(b"i" * 32, b"r" * 32),
            public=(b"x", b"y"),
            shared=b"z",
            cookies=(b"c" * 8, b"d" * 8),
            key_octets=octets,
        )
        for octets in (16, 32, 48)
    ]
    assert [len(one.cipher) for one in keys] == [16, 32, 48]
    assert keys[1].cipher.startswith(keys[0].cipher)
    assert keys[0].first_iv == sha256(b"xy").digest()[:AES_BLOCK]


def test_key_material_is_a_chain_of_hashes():
    keys = psk_keys(
        b"secret", nonces=(b"i", b"r"), public=(b"x", b"y"), shared=b"z", cookies=(b"c", b"d"), key_octets=16
    )
    seed = b"pfs" + b"\3" + b"SPI!" + b"ir"
    first = prf(keys.skeyid_d, seed)
    second = prf(keys.skeyid_d, first, seed)
    derived = keymat(keys, protocol=3, spi=b"SPI!", nonces=(b"i", b"r"), shared=b"pfs", octets=48)
    assert derived == (first + second)[:48]


def test_a_chain_goes_on_from_the_last_block_only_when_a_message_is_taken():
    key, iv = bytes(16), phase2_iv(bytes(16), 7)
    near, far = CbcChain(key, iv), CbcChain(key, iv)
    first = near.encrypt(b"first message")
    assert far.decrypt(first) == b"first message\0\0\0"
    assert far.iv == iv
    far.take(first)
    assert far.iv == near.iv == first[-16:]
    second = far.encrypt(b"second")
    assert near.decrypt(second)[:6] == b"second"


@pytest.mark.parametrize("octets", [b"", bytes(15), bytes(17)])
def test_what_is_no_whole_number_of_blocks_is_refused(octets):
    with pytest.raises(MalformedError, match="no whole blocks"):
        CbcChain(bytes(16), bytes(16)).decrypt(octets)
