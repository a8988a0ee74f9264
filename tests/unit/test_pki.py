"""The run's own certification authority."""

import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from orchestrator.pki import SLACK, VALIDITY, Authority
from orchestrator.topology.plan import NodePlan, RoleName

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
NODE = NodePlan(name="peer-a", role=RoleName.PEER, address=ipaddress.IPv6Interface("fd00::a2/64"))


def certificate(pem):
    return x509.load_pem_x509_certificate(pem.encode())


@pytest.fixture
def authority():
    return Authority("test CA", now=NOW)


def test_a_node_is_certified_by_its_name_and_its_address(authority):
    names = certificate(authority.issue(NODE).certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["peer-a"]
    assert names.value.get_values_for_type(x509.IPAddress) == [ipaddress.IPv6Address("fd00::a2")]


def test_the_certificate_is_signed_by_the_ca_that_comes_with_it(authority):
    issued = authority.issue(NODE)
    certificate(issued.certificate).verify_directly_issued_by(certificate(issued.ca))


def test_another_runs_ca_has_not_signed_it(authority):
    with pytest.raises(InvalidSignature):
        certificate(authority.issue(NODE).certificate).verify_directly_issued_by(
            certificate(Authority("test CA", now=NOW).certificate)
        )


def test_the_key_is_the_certificates_own_on_p256(authority):
    issued = authority.issue(NODE)
    key = load_pem_private_key(issued.key.encode(), None)
    assert isinstance(key.curve, ec.SECP256R1)
    assert key.public_key() == certificate(issued.certificate).public_key()


def test_every_issue_has_a_key_and_a_serial_of_its_own(authority):
    one, other = authority.issue(NODE), authority.issue(NODE)
    assert one.key != other.key
    assert certificate(one.certificate).serial_number != certificate(other.certificate).serial_number


def test_the_validity_is_short_and_begins_a_little_before_the_issue(authority):
    for pem in (authority.certificate, authority.issue(NODE).certificate):
        assert certificate(pem).not_valid_before_utc == NOW - SLACK
        assert certificate(pem).not_valid_after_utc == NOW + VALIDITY


def test_only_the_ca_may_sign_certificates(authority):
    def is_ca(pem):
        return certificate(pem).extensions.get_extension_for_class(x509.BasicConstraints).value.ca

    assert is_ca(authority.certificate)
    assert not is_ca(authority.issue(NODE).certificate)
