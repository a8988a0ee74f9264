"""What a peer may be asked: what is wrong says where, and secrets stay unseen."""

import msgspec
import pytest

from nodes import errors
from nodes.peer import model
from nodes.peer.options import peer_options

SECRET = "correct horse battery staple"
PEM = "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n"


def asked(**changes):
    connection = {
        "name": "tunnel",
        "local": {"address": "fd00::1"},
        "remote": {"address": "fd00::2"},
        "auth": {"type": "psk", "secret": SECRET},
        "children": [{"name": "inner", "local_ts": ["fd0a::/64"], "remote_ts": ["fd0b::/64"]}],
    }
    return connection | changes


def child(**changes):
    return [asked()["children"][0] | changes]


def test_a_connection_survives_the_control_channel():
    connection = msgspec.convert(asked(version=1, children=child(pfs="ecp256")), model.Connection)
    assert msgspec.json.decode(msgspec.json.encode(connection), type=model.Connection) == connection


def test_an_identity_is_the_address_unless_it_is_given():
    assert model.End(address="fd00::1").identity == "fd00::1"
    assert model.End(address="fd00::1", id="peer-a").identity == "peer-a"


@pytest.mark.parametrize(
    ("version", "first"), [(1, "aes128-sha256-ecp256"), (2, "aes128gcm16-prfsha256-ecp256")]
)
def test_the_default_ike_proposals_are_those_that_the_version_can_have(version, first):
    assert msgspec.convert(asked(version=version), model.Connection).ike_proposals[0] == first


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"name": "a b"}, r"\$.name"),
        ({"name": "tunnel\n"}, r"\$.name"),
        ({"version": 3}, r"\$.version"),
        ({"local": {"address": "fd00::g"}}, "'fd00::g' is no IP address"),
        ({"auth": {"type": "none"}}, r"\$.auth.type"),
        ({"auth": {"type": "psk", "secret": ""}}, r"\$.auth.secret"),
        ({"auth": {"type": "cert", "certificate": "x", "key": PEM, "ca": PEM}}, r"\$.auth.certificate"),
        ({"children": []}, r"\$.children"),
        ({"children": child() * 2}, "two children of one name: inner, inner"),
        ({"children": child(remote_ts=["fd0b::1/64"])}, "traffic selector: fd0b::1/64 has host bits set"),
        ({"children": child(rekey_time=60, life_time=60)}, "life_time must be longer than rekey_time"),
        ({"children": child(pfs="ecp256,modp2048")}, r"\$.children\[0\].pfs"),
        ({"rekey_time": -1}, r"\$.rekey_time"),
        ({"retries": 3}, "unknown field `retries`"),
    ],
)
def test_a_connection_that_is_wrong_says_where(wrong, where):
    with pytest.raises(msgspec.ValidationError, match=where):
        msgspec.convert(asked(**wrong), model.Connection)


def test_no_text_made_of_a_connection_shows_its_secret_or_its_keys():
    psk = msgspec.convert(asked(), model.Connection)
    certificate = model.Certificate(certificate=PEM, key=PEM, ca=PEM)
    assert SECRET not in repr(psk)
    assert "c2VjcmV0" not in repr(msgspec.structs.replace(psk, auth=certificate))


def test_a_validation_error_does_not_quote_the_secret():
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(asked(auth={"type": "psk", "secret": SECRET, "extra": SECRET}), model.Connection)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("selector", "why"),
    [({}, "say which SA"), ({"child": "inner", "child_id": 4}, "not by both"), ({"ike_id": 0}, r"\$.ike_id")],
)
def test_a_selector_names_one_sa_in_one_way(selector, why):
    with pytest.raises(msgspec.ValidationError, match=why):
        msgspec.convert(selector, model.Rekey)


def test_a_selector_with_a_child_means_a_child_sa():
    assert model.Rekey(connection="tunnel", child="inner").of_child
    assert model.Terminate(child_id=3).of_child
    assert not model.Terminate(connection="tunnel").of_child


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"dataplane": "hardware"}, r"\$.dataplane"),
        ({"inner_address": "fd00::/200"}, "inner_address"),
        ({"log_level": 4}, r"\$.log_level"),
        ({"colour": "blue"}, "unknown field `colour`"),
    ],
)
def test_an_option_that_is_wrong_is_a_usage_error_that_names_it(options, why):
    with pytest.raises(errors.UsageError, match=why):
        peer_options(options)
