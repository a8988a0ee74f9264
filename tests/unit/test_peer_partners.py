"""The partners of a peer by its connections, what is begun again with them, and who is inactive."""

import pytest

from nodes import errors
from nodes.abnormality.machine import Reason
from nodes.abnormality.model import require_partner
from nodes.events import event
from nodes.peer.inactivity import Inactivity
from nodes.peer.model import Child, Connection, End, Psk
from nodes.peer.partners import Partners

B, C = "fd00::b", "fd00::c"
S = 1_000_000_000


def connection(name="tunnel", remote=B, **settings):
    return Connection(
        name=name,
        local=End(address="fd00::a"),
        remote=End(address=remote),
        auth=Psk(secret="s"),
        children=(Child(name="inner", local_ts=("fd0a::/64",), remote_ts=("fd0b::/64",)),),
        **settings,
    )


def inactive(side="sender", until=100 * S):
    data = {"partner": B, "side": side, "reason": "psk", "times": 2, "for_s": 60.0, "until": until}
    return event("abnormality.inactive", **data)


def test_a_partner_is_known_by_its_canonical_address_for_as_long_as_a_connection_names_it():
    partners = Partners()
    assert partners.load(connection(remote="FD00:0::B")) == B
    partners.load(connection("other"))
    partners.load(connection("third", C))
    assert partners.addresses == (B, C)
    assert partners.unload("tunnel")
    assert partners.addresses == (B, C)
    assert partners.unload("other")
    assert partners.addresses == (C,)
    assert not partners.unload("other")
    assert partners.of("other") is None


def test_an_address_to_which_no_connection_is_loaded_is_no_partner():
    assert require_partner("FD00::B", [C, B]) == B
    with pytest.raises(errors.ParameterError, match="fd00::d is no partner: .*: fd00::b, fd00::c"):
        require_partner("fd00::d", [C, B])
    with pytest.raises(errors.ParameterError, match="the partners are: none"):
        require_partner(B, [])


def test_what_charon_tries_for_ever_and_the_guard_cut_is_begun_again_once():
    partners = Partners()
    partners.load(connection(keyingtries=0))
    partners.load(connection("once", keyingtries=1))
    partners.load(connection("elsewhere", C, keyingtries=0))
    for name in ("tunnel", "once", "elsewhere"):
        partners.asked(name, "inner")
        partners.cut(name)
    assert partners.resumed(B) == [("tunnel", "inner")]
    assert partners.resumed(B) == []
    assert partners.resumed(C) == [("elsewhere", "inner")]


def test_what_was_not_cut_or_is_loaded_anew_is_not_begun_again():
    partners = Partners()
    partners.load(connection(keyingtries=0))
    partners.asked("tunnel", "inner")
    assert partners.resumed(B) == []
    partners.cut("tunnel")
    partners.load(connection(keyingtries=0))
    assert partners.resumed(B) == []


def test_a_sender_is_inactive_until_its_time_and_says_why():
    inactivity = Inactivity()
    assert inactivity.why(B, 0) is None
    inactivity.heard(inactive())
    assert "inactive towards fd00::b for another 40.0 s" in inactivity.why(B, 60 * S)
    assert inactivity.why(B, 100 * S) is None
    assert inactivity.why(C, 0) is None


def test_an_inactive_receiver_holds_no_sender_back():
    inactivity = Inactivity()
    inactivity.heard(inactive("receiver"))
    assert inactivity.has(B)
    assert inactivity.why(B, 0) is None


def test_with_the_guard_every_inactivity_ends():
    inactivity = Inactivity()
    inactivity.heard(inactive())
    inactivity.heard(event("abnormality.cut", name="tunnel"))
    assert list(inactivity.end(Reason.GUARD_DIED)) == [
        {"partner": B, "side": "sender", "reason": "guard-died", "times": 2}
    ]
    assert not inactivity.has(B)
    inactivity.heard(inactive())
    inactivity.heard(event("abnormality.active", partner=B, side="sender", reason="expired", times=2))
    assert list(inactivity.end(Reason.GUARD_DIED)) == []
