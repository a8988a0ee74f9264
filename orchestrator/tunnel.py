"""A tunnel between two peers of a plan, as the connection that each of them loads. No I/O."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from nodes import errors
from nodes.ike.model import IkeConnection
from nodes.peer.model import ESP_PROPOSALS, PFS_GROUP, Auth, Child, Connection, End, Psk
from orchestrator.pki import Authority
from orchestrator.topology.plan import NodePlan, RunPlan

CONNECTION = "tunnel"
CHILD = "inner"

AuthName = Literal["psk", "cert"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What both ends of a tunnel agree on.

    Attributes:
        version: of IKE.
        pfs: a Diffie-Hellman exchange with every rekey of the CHILD_SA, in the group ``pfs_group``.
        ike_proposals: for the IKE SA; None are the version's defaults.
        esp_proposals: for the CHILD_SA, without a group.
        ike_rekey_time: seconds after which the IKE SA is rekeyed; 0 never.
        child_rekey_time: seconds after which the CHILD_SA is rekeyed; 0 never.
        child_life_time: seconds after which it ends all the same; None is 10 % more.
        keyingtries: how often a peer starts anew on a partner that does not answer; 0 for ever.
        dpd_delay: seconds of silence after which a peer asks whether its partner lives; 0 never.
        encap: ESP in UDP although no NAT is there.
        mobike: an IKEv2 SA may move to other addresses.
    """

    version: Literal[1, 2] = 2
    pfs: bool = False
    pfs_group: str = PFS_GROUP
    ike_proposals: tuple[str, ...] | None = None
    esp_proposals: tuple[str, ...] = ESP_PROPOSALS
    ike_rekey_time: int = 14400
    child_rekey_time: int = 3600
    child_life_time: int | None = None
    keyingtries: int = 1
    dpd_delay: int = 0
    encap: bool = False
    mobike: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tunnel:
    """The connections to load at the two ends. Only the initiator is told to initiate."""

    initiator: Connection
    responder: Connection


def credentials(plan: RunPlan, names: tuple[str, ...], auth: AuthName) -> dict[str, Auth]:
    """New credentials for these nodes, by name: one secret for all of them, or certificates of a new CA."""
    if auth == "psk":
        psk = Psk(secret=secrets.token_urlsafe(32))
        return dict.fromkeys(names, psk)
    authority = Authority.of_run(plan)
    return {name: authority.issue(plan.node(name)) for name in names}


def tunnel(
    plan: RunPlan,
    initiator: str,
    responder: str,
    credentials: Mapping[str, Auth],
    settings: Settings | None = None,
    *,
    name: str = CONNECTION,
) -> Tunnel:
    """The tunnel between the inner prefixes of two nodes.

    Each end is known by its address on the bridge, which IKEv1 needs to find a pre-shared key (RFC 2409 §5.4)
    and which stands in its certificate.

    Args:
        plan: the run.
        initiator: the name of the node that will initiate.
        responder: the name of its partner.
        credentials: of both, by name.
        settings: what they agree on.
        name: the connection's name at both ends.

    Raises:
        UsageError: a node has no inner prefix, or both are one.
        ParameterError: a setting is out of range; the text names it.
    """
    settings = settings or Settings()
    if initiator == responder:
        raise errors.UsageError(f"{initiator} cannot have a tunnel to itself")
    nodes = [plan.node(one) for one in (initiator, responder)]
    for node in nodes:
        if node.inner is None:
            raise errors.UsageError(f"{node.name} is no tunnel's end: it has no inner prefix")
    near, far = nodes
    return Tunnel(
        initiator=_connection(near, far, credentials[initiator], settings, name),
        responder=_connection(far, near, credentials[responder], settings, name),
    )


def at_endpoint(connection: Connection, **behaviour: Any) -> IkeConnection:
    """A tunnel's connection as an IKEv1 endpoint of ours loads it.

    Args:
        connection: of one end, as :func:`tunnel` gives it.
        behaviour: what the endpoint can be told beside; see :class:`nodes.ike.model.IkeConnection`.

    Raises:
        ParameterError: the endpoint cannot have such a connection, or be told that; the text says why.
    """
    plain: dict[str, Any] = msgspec.to_builtins(connection)
    try:
        return msgspec.convert(plain | msgspec.to_builtins(behaviour), IkeConnection)
    except (msgspec.ValidationError, ValueError) as error:
        raise errors.ParameterError(f"tunnel {connection.name!r} at an endpoint: {error}") from None


def _connection(local: NodePlan, remote: NodePlan, auth: Auth, settings: Settings, name: str) -> Connection:
    try:
        child = Child(
            name=CHILD,
            local_ts=(str(local.inner),),
            remote_ts=(str(remote.inner),),
            esp_proposals=settings.esp_proposals,
            pfs=settings.pfs_group if settings.pfs else None,
            rekey_time=settings.child_rekey_time,
            life_time=settings.child_life_time,
        )
        connection = Connection(
            name=name,
            local=End(address=str(local.address.ip)),
            remote=End(address=str(remote.address.ip)),
            auth=auth,
            children=(child,),
            version=settings.version,
            proposals=settings.ike_proposals,
            rekey_time=settings.ike_rekey_time,
            keyingtries=settings.keyingtries,
            dpd_delay=settings.dpd_delay,
            encap=settings.encap,
            mobike=settings.mobike,
        )
        # checked as the node will check it: a Struct's own construction checks no ranges
        plain: Any = msgspec.to_builtins(connection)
        return msgspec.convert(plain, Connection)
    except (msgspec.ValidationError, ValueError) as error:
        raise errors.ParameterError(f"tunnel {name!r}: {error}") from None
