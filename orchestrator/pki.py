"""The run's own certification authority: made with the run, in memory only, gone with it."""

from __future__ import annotations

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nodes.peer.model import Certificate
from orchestrator.topology.plan import NodePlan, RunPlan

VALIDITY = datetime.timedelta(days=7)
"""How long a certificate is valid from its issue: longer than a testbed is left up."""
SLACK = datetime.timedelta(minutes=5)
"""How long before its issue it is valid, for a clock that is set back."""


class Authority:
    """A CA of one run. Its key, and those that it issues, are EC P-256 and never touch a disk.

    Args:
        name: the common name of the CA.
        now: the time of issue of everything it signs, aware; default: the present.
    """

    def __init__(self, name: str, *, now: datetime.datetime | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._now = datetime.datetime.now(datetime.UTC) if now is None else now
        self._name = _distinguished_name(name)
        self._certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(of_ca=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @classmethod
    def of_run(cls, plan: RunPlan) -> Authority:
        """A CA for a run."""
        return cls(f"{plan.project} CA")

    @property
    def certificate(self) -> str:
        """The CA's own certificate, PEM."""
        return _pem(self._certificate)

    def issue(self, node: NodePlan, *, at: datetime.datetime | None = None) -> Certificate:
        """Credentials for a node: a new key, and a certificate for its name and its address on the bridge.

        Args:
            at: the time of issue, aware, from which it is valid; default: the authority's.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(_distinguished_name(node.name), key.public_key(), at)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(of_ca=False), critical=True)
            .add_extension(_alternative_names(node.name, node.address.ip), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Certificate(certificate=_pem(certificate), key=_key_pem(key), ca=self.certificate)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, at: datetime.datetime | None = None
    ) -> x509.CertificateBuilder:
        public = self._key.public_key()
        begin = self._now if at is None else at
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - SLACK)
            .not_valid_after(begin + VALIDITY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        )


def _distinguished_name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Hopbed"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _alternative_names(name: str, address: ipaddress.IPv6Address) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.IPAddress(address), x509.DNSName(name)])


def _key_usage(*, of_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not of_ca,
        key_cert_sign=of_ca,
        crl_sign=of_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()
