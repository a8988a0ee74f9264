"""Keys from charon's log, recorded from strongSwan 5.9.8, and Wireshark's tables made of them.

The recordings have the keys of throw-away runs, without the secret that the peers shared.
"""

from pathlib import Path

import pytest

from nodes.peer.config import PLUGINS, strongswan_conf
from nodes.peer.options import PeerOptions
from orchestrator.decryption.charon_keys import EspKeys, IkeKeys, read_keys
from orchestrator.decryption.wireshark import tables

RECORDED = Path(__file__).parents[1] / "data" / "charon-keys"
REKEYED = [
    ("2", bytes.fromhex("2cb8b12b5f5c1d4c"), bytes.fromhex("31e7bb6d092e1da1")),
    ("3", bytes.fromhex("12fde71f077f27ee"), bytes.fromhex("abcf14df45846881")),
    ("4", bytes.fromhex("cd58f2471a0284b9"), bytes.fromhex("3466ea506ca22648")),
]


def recorded(name, rekeyed=()):
    return list(read_keys((RECORDED / f"{name}.log").read_text(), rekeyed))


def esp(keys):
    return {(one.spi, one.source, one.destination): one for one in keys if isinstance(one, EspKeys)}


def ike(keys):
    return [one for one in keys if isinstance(one, IkeKeys)]


@pytest.mark.parametrize(
    ("version", "rekeyed"), [("ikev1-gcm", ()), ("ikev2-cbc", REKEYED)], ids=["ikev1", "ikev2"]
)
def test_both_ends_tell_of_the_same_keys(version, rekeyed):
    initiator, responder = (recorded(f"{version}-{end}", rekeyed) for end in ("initiator", "responder"))
    assert esp(initiator) == esp(responder)
    assert {one.initiator_spi: one for one in ike(initiator)} == {
        one.initiator_spi: one for one in ike(responder)
    }


def test_ikev1_has_one_key_for_an_ike_sa():
    (keys,) = ike(recorded("ikev1-gcm-initiator"))
    assert (keys.version, keys.encryption, keys.integrity) == (1, "AES_CBC_128", "HMAC_SHA2_256_128")
    assert keys.initiator_spi.hex() == "ce1e52ddcb450c13"
    assert keys.initiator_key.hex() == "725c4d84258a307f6959722b045f50d8"


def test_each_direction_of_a_child_sa_has_its_key():
    keys = esp(recorded("ikev1-gcm-initiator"))
    assert len(keys) == 8  # four CHILD_SAs, the first and three rekeys from alternate sides
    out = keys["9bd55bd5", "fdfd:1c81:6c91:1::a2", "fdfd:1c81:6c91:1::b2"]
    assert (out.encryption, out.integrity, out.integrity_key) == ("AES_GCM_16_128", "", b"")
    assert out.key.hex() == "2071ebf56b9da0ad418b1769ae275ca0f53dca77"


def test_a_rekeyed_ike_sa_has_its_own_keys_whoever_rekeyed():
    keys = ike(recorded("ikev2-cbc-initiator", REKEYED))
    assert [one.initiator_spi.hex() for one in keys] == [
        "e9b854b496083925",
        *(spi.hex() for _, spi, _ in REKEYED),
    ]
    assert len({one.initiator_key for one in keys}) == 4
    assert {len(one.initiator_integrity) for one in keys} == {48}


def test_an_ike_sa_whose_spis_are_not_known_is_left_out():
    assert len(ike(recorded("ikev2-cbc-initiator"))) == 1


def test_a_log_that_is_cut_short_gives_what_it_has():
    text = (RECORDED / "ikev1-gcm-initiator.log").read_text()
    for end in range(0, len(text), 997):
        keys = list(read_keys(text[:end]))
        assert keys == recorded("ikev1-gcm-initiator")[: len(keys)]


def test_wiresharks_tables_have_each_sa_once():
    both = [*recorded("ikev1-gcm-initiator"), *recorded("ikev1-gcm-responder")]
    files = tables(both)
    assert sorted(files) == ["esp_sa", "ikev1_decryption_table", "preferences"]
    assert files["ikev1_decryption_table"] == "ce1e52ddcb450c13,725c4d84258a307f6959722b045f50d8\n"
    assert len(files["esp_sa"].splitlines()) == 8
    assert files["esp_sa"].splitlines()[1] == (
        '"IPv6","fdfd:1c81:6c91:1::a2","fdfd:1c81:6c91:1::b2","0x9bd55bd5",'
        '"AES-GCM with 16 octet ICV [RFC4106]","0x2071ebf56b9da0ad418b1769ae275ca0f53dca77","NULL",""'
    )


def test_ciphers_with_a_separate_integrity_key_are_spelt_as_wireshark_does():
    files = tables(recorded("ikev2-cbc-initiator", REKEYED))
    row = files["ikev2_decryption_table"].splitlines()[0].split(",")
    assert (row[4], row[7]) == ('"AES-CBC-256 [RFC3602]"', '"HMAC_SHA2_384_192 [RFC4868]"')
    assert '"AES-CBC [RFC3602]"' in files["esp_sa"]
    assert '"HMAC-SHA-256-128 [RFC4868]"' in files["esp_sa"]


def test_what_wireshark_does_not_know_is_left_out():
    odd = EspKeys(
        spi="00000001", source="::1", destination="::2", encryption="CAMELLIA_CBC_128", integrity="", key=b"k"
    )
    assert list(tables([odd])) == ["preferences"]


def conf(**options):
    return strongswan_conf(
        PeerOptions(**options),
        dataplane="userspace",
        available=PLUGINS,
        vici_socket=Path("/run/hopbed/charon.vici"),
        error_socket=Path("/run/hopbed/charon.enfy"),
        log=Path("/run/hopbed/log/charon.log"),
    )


def test_a_peer_writes_no_key_unless_it_is_asked_to():
    assert "= 4" not in conf()
    assert "charon-keys.log" not in conf()


def test_keys_go_to_a_log_of_their_own():
    text = conf(keys=True)
    assert "path = /run/hopbed/log/charon-keys.log" in text
    assert text.count("= 4") == 2
    ordinary = text.partition("log {")[2].partition("}")[0]
    assert "= 4" not in ordinary
