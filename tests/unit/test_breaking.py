"""Abnormalities by configuration and by rule: exactly one thing is wrong, and the fault engine reads them."""

import datetime
import ipaddress
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from nodes import errors
from nodes.peer.model import IKEV1_PROPOSALS, IKEV2_PROPOSALS, Certificate
from orchestrator.breaking import Breakage, Kind, Side, kind_of, side_of
from orchestrator.breaking.kinds import MISCONFIGURED, ON_THE_WIRE, WITH_CERTIFICATES
from orchestrator.breaking.wire import rules
from orchestrator.faults import check_rules
from orchestrator.topology.addressing import plan_run
from orchestrator.topology.load import load
from orchestrator.tunnel import Settings

COMPOSE = Path(__file__).parents[2] / "compose.yaml"
A, B = "peer-a", "peer-b"


@pytest.fixture(scope="module")
def plan():
    return plan_run(load(COMPOSE), owner=0)


def differences(one, other):
    """The names of the fields that differ, of children too."""
    plain, changed = (msgspec.to_builtins(each) for each in (one, other))
    found = {name for name in plain if plain[name] != changed[name]}
    if "children" in found:
        (child,), (wrong,) = plain["children"], changed["children"]
        found = found - {"children"} | {name for name in child if child[name] != wrong[name]}
    return found


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Kind.IKE_PROPOSAL, {"proposals"}),
        (Kind.ESP_PROPOSAL, {"esp_proposals"}),
        (Kind.PSK, {"auth"}),
        (Kind.ID_INITIATOR, {"local"}),
        (Kind.ID_RESPONDER, {"remote"}),
        (Kind.TRAFFIC_SELECTOR, {"local_ts"}),
        (Kind.CERTIFICATE_EXPIRED, {"auth"}),
        (Kind.CERTIFICATE_UNTRUSTED, {"auth"}),
    ],
)
def test_of_a_misconfigured_sender_one_thing_is_wrong(plan, kind, fields, version):
    broken = Breakage.of(plan, A, B, kind, Settings(version=version))
    assert kind in MISCONFIGURED
    assert differences(broken.right.initiator, broken.wrong) == fields


@pytest.mark.parametrize("kind", sorted(set(Kind) - MISCONFIGURED))
def test_of_the_others_the_sender_is_right(plan, kind):
    broken = Breakage.of(plan, A, B, kind, Settings())
    assert broken.wrong == broken.right.initiator


@pytest.mark.parametrize(("version", "accepted"), [(1, IKEV1_PROPOSALS), (2, IKEV2_PROPOSALS)])
def test_the_cipher_of_the_wrong_proposal_is_not_accepted(plan, version, accepted):
    (wrong,) = Breakage.of(plan, A, B, Kind.IKE_PROPOSAL, Settings(version=version)).wrong.ike_proposals
    assert wrong.split("-")[0] not in {word for proposal in accepted for word in proposal.split("-")}


def certificate(auth):
    assert isinstance(auth, Certificate)
    return x509.load_pem_x509_certificate(auth.certificate.encode())


def test_the_expired_certificate_was_valid_once_and_is_of_the_right_authority(plan):
    broken = Breakage.of(plan, A, B, Kind.CERTIFICATE_EXPIRED, Settings())
    found = certificate(broken.wrong.auth)
    assert found.not_valid_before_utc < found.not_valid_after_utc
    assert found.not_valid_after_utc < datetime.datetime.now(datetime.UTC)
    found.verify_directly_issued_by(x509.load_pem_x509_certificate(broken.right.responder.auth.ca.encode()))


def test_the_untrusted_certificate_is_valid_and_of_another_authority(plan):
    broken = Breakage.of(plan, A, B, Kind.CERTIFICATE_UNTRUSTED, Settings())
    found = certificate(broken.wrong.auth)
    assert found.not_valid_after_utc > datetime.datetime.now(datetime.UTC)
    authority = x509.load_pem_x509_certificate(broken.right.responder.auth.ca.encode())
    assert found.issuer != authority.subject
    assert broken.wrong.auth.ca == broken.right.initiator.auth.ca  # it trusts its partner all the same


def test_the_wrong_selector_is_of_the_runs_site_and_of_no_tunnel(plan):
    broken = Breakage.of(plan, A, B, Kind.TRAFFIC_SELECTOR, Settings())
    (wrong,) = (ipaddress.ip_network(one) for one in broken.wrong.children[0].local_ts)
    assert wrong.network_address.packed[:6] == plan.network.network_address.packed[:6]
    assert not any(wrong.overlaps(node.inner) for node in plan.nodes if node.inner is not None)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", sorted(ON_THE_WIRE))
def test_what_happens_on_the_wire_is_a_rule_for_every_such_message_of_the_sender(kind, version):
    (rule,) = check_rules(rules(kind, version, A), (A, B), (A, B))
    assert (rule.source, rule.occurrence, rule.retransmissions) == (A, None, True)


def test_each_kind_is_made_at_one_end():
    assert {kind for kind in Kind if side_of(kind) is Side.RECEIVER} == {
        Kind.UNKNOWN_PEER,
        Kind.DEAD_PEER,
        Kind.THIRD_PARTY_FLOOD,
    }
    assert not MISCONFIGURED & ON_THE_WIRE
    assert WITH_CERTIFICATES <= MISCONFIGURED


def test_an_unknown_kind_is_one_error_with_what_may_be_meant():
    assert kind_of("psk") is Kind.PSK
    with pytest.raises(errors.UsageError, match=r"no kind of abnormality 'pks'; .*; did you mean psk\?$"):
        kind_of("pks")


@pytest.mark.parametrize(("sender", "receiver"), [(A, A), (A, "host"), ("terminal-a", B)])
def test_who_is_no_pair_of_tunnel_ends_is_refused(plan, sender, receiver):
    with pytest.raises(errors.UsageError):
        Breakage.of(plan, sender, receiver, Kind.PSK, Settings())
