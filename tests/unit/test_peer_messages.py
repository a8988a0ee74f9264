"""Our values in VICI's terms, and VICI's answers in ours."""

import msgspec
from recorded_vici import CHILD_SECTION, IKE_SECTION

from nodes.peer.events import told
from nodes.peer.messages import (
    connection_message,
    key_message,
    listed_connections,
    listed_sas,
    selector_message,
    shared_message,
)
from nodes.peer.model import Certificate, Child, Connection, End, Psk, Rekey

CREATED_CHILD = {key: CHILD_SECTION[key] for key in ("name", "uniqueid", "reqid", "mode")} | {
    "state": "CREATED",
    "local-ts": ["fd0a::/64"],
    "remote-ts": ["fd0b::/64"],
}


def connection(**changes):
    child = Child(name="inner", local_ts=("fd0a::/64",), remote_ts=("fd0b::/64",))
    ends = {"local": End(address="fd00::1"), "remote": End(address="fd00::2")}
    loaded = Connection(name="tunnel", auth=Psk(secret="s3cret"), children=(child,), **ends)
    return msgspec.structs.replace(loaded, **changes)


def test_a_psk_connection_is_told_without_its_secret():
    message = connection_message(connection())
    assert message["tunnel"]["local"] == {"id": "fd00::1", "auth": "psk"}
    assert message["tunnel"]["remote"] == {"id": "fd00::2", "auth": "psk"}
    assert "s3cret" not in str(message)


def test_the_secret_goes_by_itself_and_is_owned_by_both_identities():
    assert shared_message(connection(), Psk(secret="s3cret")) == {
        "id": "tunnel",
        "type": "IKE",
        "data": "s3cret",
        "owners": ["fd00::1", "fd00::2"],
    }


def test_a_certificate_connection_trusts_only_its_ca_and_keeps_the_key_apart():
    auth = Certificate(certificate="-----BEGIN A", key="-----BEGIN KEY", ca="-----BEGIN CA")
    message = connection_message(connection(auth=auth))
    assert message["tunnel"]["local"] == {"id": "fd00::1", "auth": "pubkey", "certs": ["-----BEGIN A"]}
    assert message["tunnel"]["remote"] == {"id": "fd00::2", "auth": "pubkey", "cacerts": ["-----BEGIN CA"]}
    assert "KEY" not in str(message)
    assert key_message(auth)["data"] == "-----BEGIN KEY"


def test_pfs_adds_its_group_to_every_esp_proposal():
    child = msgspec.structs.replace(
        connection().children[0], esp_proposals=("aes128gcm16", "aes128-sha256"), pfs="ecp256"
    )
    told_child = connection_message(connection(children=(child,)))["tunnel"]["children"]["inner"]
    assert told_child["esp_proposals"] == ["aes128gcm16-ecp256", "aes128-sha256-ecp256"]


def test_a_lifetime_that_is_left_out_is_charons_to_choose():
    plain = connection_message(connection())["tunnel"]["children"]["inner"]
    child = msgspec.structs.replace(connection().children[0], rekey_time=30, life_time=40)
    given = connection_message(connection(children=(child,)))["tunnel"]["children"]["inner"]
    assert "life_time" not in plain
    assert (given["rekey_time"], given["life_time"]) == (30, 40)


def test_a_selector_says_only_what_it_was_given():
    assert selector_message(Rekey(connection="tunnel", child_id=7)) == {"ike": "tunnel", "child-id": 7}


def test_an_ike_sa_is_read_with_its_child_sas():
    (sa,) = listed_sas({"tunnel": IKE_SECTION | {"child-sas": {"inner-7": CHILD_SECTION}}})
    assert (sa.name, sa.unique_id, sa.version, sa.initiator, sa.nat) == ("tunnel", 2, 2, True, True)
    assert (sa.initiator_spi, sa.responder_spi) == ("5ac233051ffcdefe", "634cd85a45387de1")
    assert (sa.encryption, sa.integrity, sa.dh_group) == ("AES_CBC-128", "HMAC_SHA2_256_128", "ECP_256")
    assert sa.tasks == ("CHILD_REKEY",)
    (child,) = sa.children
    assert (child.unique_id, child.spi_in, child.spi_out) == (7, "70a9050d", "14e40cd9")
    assert (child.encryption, child.integrity, child.encap) == ("AES_GCM_16-128", None, True)
    assert (child.packets_in, child.bytes_out, child.rekey_in, child.expires_in) == (3, 252, 3600, 3960)
    assert (child.local_ts, child.remote_ts) == (("fd0a::/64",), ("fd0b::/64",))


def test_a_child_sa_that_is_not_installed_has_no_figures():
    (sa,) = listed_sas({"tunnel": IKE_SECTION | {"child-sas": {"inner-7": CREATED_CHILD}}})
    assert (sa.children[0].state, sa.children[0].spi_in, sa.children[0].packets_in) == ("CREATED", None, None)


def test_a_listed_connection_names_its_ends_and_children():
    message = {
        "tunnel": {
            "local_addrs": ["fd00::1"],
            "remote_addrs": ["fd00::2"],
            "version": "IKEv2",
            "local-1": {"class": "pre-shared key", "id": "fd00::1"},
            "remote-1": {"class": "public key", "id": "fd00::2"},
            "children": {"inner": {"mode": "TUNNEL"}},
        }
    }
    (listed,) = listed_connections(message)
    assert (listed.version, listed.local_auth, listed.remote_auth) == (
        "IKEv2",
        "pre-shared key",
        "public key",
    )
    assert listed.children == ("inner",)


def test_updown_tells_of_an_ike_sa_that_came_and_of_one_that_went():
    ((came, data),) = told("ike-updown", {"up": "yes", "tunnel": IKE_SECTION})
    ((went, _),) = told("ike-updown", {"tunnel": IKE_SECTION})
    assert (came, went) == ("ike-sa.established", "ike-sa.deleted")
    assert (data["name"], data["unique_id"], "children" in data) == ("tunnel", 2, False)


def test_updown_tells_of_a_child_sa_with_its_ike_sa():
    section = IKE_SECTION | {"child-sas": {"inner-7": CHILD_SECTION}}
    ((came, data),) = told("child-updown", {"up": "yes", "tunnel": section})
    ((went, _),) = told("child-updown", {"tunnel": section})
    assert (came, went) == ("child-sa.installed", "child-sa.deleted")
    assert (data["ike"], data["ike_id"], data["version"], data["name"]) == ("tunnel", 2, 2, "inner")
    assert (data["spi_in"], data["spi_out"]) == ("70a9050d", "14e40cd9")


def test_a_child_rekey_tells_the_old_and_the_new_spis():
    new = CHILD_SECTION | {"uniqueid": "8", "spi-in": "0000000a", "spi-out": "0000000b"}
    section = IKE_SECTION | {"child-sas": {"inner": {"old": CHILD_SECTION, "new": new}}}
    ((kind, data),) = told("child-rekey", {"tunnel": section})
    assert (kind, data["ike"], data["name"]) == ("child-sa.rekeyed", "tunnel", "inner")
    assert (data["old"]["unique_id"], data["old"]["spi_in"]) == (7, "70a9050d")
    assert (data["new"]["unique_id"], data["new"]["spi_in"]) == (8, "0000000a")


def test_an_ike_rekey_tells_the_old_and_the_new_sa():
    new = IKE_SECTION | {"uniqueid": "3", "initiator-spi": "00000000000000aa"}
    ((kind, data),) = told("ike-rekey", {"tunnel": {"old": IKE_SECTION, "new": new}})
    assert (kind, data["old"]["unique_id"], data["new"]["unique_id"]) == ("ike-sa.rekeyed", 2, 3)


def test_a_move_of_an_established_sa_is_told_and_the_port_change_of_a_negotiation_is_not():
    to = {"local-host": "fd00::9", "local-port": "4500", "remote-host": "fd00::2", "remote-port": "4500"}
    ((kind, data),) = told("ike-update", to | {"tunnel": IKE_SECTION})
    assert (kind, data["local_address"], data["to"]["local_address"]) == (
        "ike-sa.moved",
        "fd00::1",
        "fd00::9",
    )
    assert list(told("ike-update", to | {"tunnel": IKE_SECTION | {"state": "CONNECTING"}})) == []


def test_a_log_line_and_an_alert_name_their_ike_sa_where_they_have_one():
    line = {"group": "IKE", "level": "1", "thread": "4", "msg": "sending retransmit 1"}
    of_sa = line | {"ikesa-name": "tunnel", "ikesa-uniqueid": "2"}
    assert list(told("log", line)) == [("charon.log", {"group": "IKE", "level": 1, "text": line["msg"]})]
    assert next(told("log", of_sa))[1]["ike_id"] == 2
    alert = {"type": "retransmit-send", "ike-sa": {"tunnel": IKE_SECTION}}
    assert list(told("alert", alert)) == [
        ("ike.alert", {"alert": "retransmit-send", "name": "tunnel", "ike_id": 2})
    ]
