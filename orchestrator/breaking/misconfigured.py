"""A tunnel's sender with a configuration that its receiver cannot agree to. No I/O."""

from __future__ import annotations

import datetime
import ipaddress
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from nodes.peer.model import Auth, Child, Connection, End, Psk
from orchestrator.breaking.kinds import Kind
from orchestrator.pki import VALIDITY, Authority
from orchestrator.topology.plan import NodePlan, RunPlan

OTHER_IKE_PROPOSALS: Mapping[int, tuple[str, ...]] = {
    1: ("aes256-sha256-ecp256",),
    2: ("aes256-sha384-prfsha384-ecp384",),
}
"""None of them is a default of :mod:`nodes.peer.model`; the IKEv1 endpoint can propose the first one too. The
second has no group of the defaults: the receiver asks for no other (RFC 7296 §1.2, INVALID_KE_PAYLOAD)."""
OTHER_ESP_PROPOSALS = ("aes256-sha256",)
WRONG_ID = "nobody.hopbed.example"
LONG_AGO = VALIDITY + datetime.timedelta(days=30)
"""How long ago a certificate was issued that has expired."""
OTHER_SUBNET = 0xFFFF
"""The subnet of the run's site that no tunnel is for."""


def misconfigured(connection: Connection, kind: Kind, plan: RunPlan) -> Connection:
    """A sender's right connection, made wrong; as it is where another thing of it is wrong."""
    match kind:
        case Kind.IKE_PROPOSAL:
            return msgspec.structs.replace(connection, proposals=OTHER_IKE_PROPOSALS[connection.version])
        case Kind.ESP_PROPOSAL:
            return with_children(connection, esp_proposals=OTHER_ESP_PROPOSALS)
        case Kind.PSK:
            return msgspec.structs.replace(connection, auth=Psk(secret=secrets.token_urlsafe(32)))
        case Kind.ID_INITIATOR:
            return msgspec.structs.replace(connection, local=_known_as(connection.local))
        case Kind.ID_RESPONDER:
            return msgspec.structs.replace(connection, remote=_known_as(connection.remote))
        case Kind.TRAFFIC_SELECTOR:
            return with_children(connection, local_ts=(str(subnet(plan, OTHER_SUBNET)),))
    return connection


def wrong_certificate(kind: Kind, authority: Authority, node: NodePlan) -> Auth | None:
    """Credentials of ``node`` that whoever trusts ``authority`` refuses; None where ``kind`` needs none."""
    match kind:
        case Kind.CERTIFICATE_EXPIRED:
            return authority.issue(node, at=datetime.datetime.now(datetime.UTC) - LONG_AGO)
        case Kind.CERTIFICATE_UNTRUSTED:
            stranger = Authority("a CA that nobody trusts").issue(node)
            return msgspec.structs.replace(stranger, ca=authority.certificate)
    return None


def subnet(plan: RunPlan, number: int) -> ipaddress.IPv6Network:
    """A /64 of the run's own site, by its number."""
    site = int(plan.network.network_address) >> 80 << 80
    return ipaddress.IPv6Network((site | number << 64, 64))


def with_children(connection: Connection, **changes: Any) -> Connection:
    """A connection whose children differ from it in ``changes``."""
    children: tuple[Child, ...] = tuple(
        msgspec.structs.replace(child, **changes) for child in connection.children
    )
    return msgspec.structs.replace(connection, children=children)


def _known_as(end: End) -> End:
    return msgspec.structs.replace(end, id=WRONG_ID)
