"""What VICI's messages say, without I/O: our values in charon's terms, and charon's answers in ours.

Source: the VICI protocol's README in strongSwan, ``src/libcharon/plugins/vici/README.md``, and
swanctl.conf(5). A message is a tree of dicts, lists and strings; charon writes numbers as strings and leaves
out what is not so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nodes.peer.model import (
    Certificate,
    Child,
    ChildSa,
    Connection,
    IkeSa,
    Initiate,
    LoadedConnection,
    Psk,
    SaSelector,
)

Message = Mapping[str, Any]


def _flag(value: bool) -> str:
    return "yes" if value else "no"


def _esp_proposals(child: Child) -> list[str]:
    if child.pfs is None:
        return list(child.esp_proposals)
    return [f"{proposal}-{child.pfs}" for proposal in child.esp_proposals]


def _child(child: Child) -> dict[str, Any]:
    section: dict[str, Any] = {
        "mode": "tunnel",
        "esp_proposals": _esp_proposals(child),
        "local_ts": list(child.local_ts),
        "remote_ts": list(child.remote_ts),
        "rekey_time": child.rekey_time,
        "rand_time": child.rand_time,
        "rekey_packets": child.rekey_packets,
        "rand_packets": 0,
        "start_action": child.start_action,
        "close_action": child.close_action,
        "dpd_action": child.dpd_action,
    }
    if child.life_time is not None:
        section["life_time"] = child.life_time
    return section


def connection_message(connection: Connection) -> dict[str, Any]:
    """The message of ``load-conn``; it holds certificates, and no secret and no private key."""
    local: dict[str, Any] = {"id": connection.local.identity}
    remote: dict[str, Any] = {"id": connection.remote.identity}
    match connection.auth:
        case Psk():
            local["auth"] = remote["auth"] = "psk"
        case Certificate() as auth:
            local |= {"auth": "pubkey", "certs": [auth.certificate]}
            remote |= {"auth": "pubkey", "cacerts": [auth.ca]}
    return {
        connection.name: {
            "version": connection.version,
            "local_addrs": [connection.local.address],
            "remote_addrs": [connection.remote.address],
            "proposals": list(connection.ike_proposals),
            "rekey_time": connection.rekey_time,
            "reauth_time": connection.reauth_time,
            "rand_time": connection.rand_time,
            "dpd_delay": connection.dpd_delay,
            "keyingtries": connection.keyingtries,
            "mobike": _flag(connection.mobike),
            "encap": _flag(connection.encap),
            "unique": connection.unique,
            "send_cert": "always",
            "local": local,
            "remote": remote,
            "children": {child.name: _child(child) for child in connection.children},
        }
    }


def shared_message(connection: Connection, auth: Psk) -> dict[str, Any]:
    """The message of ``load-shared``: the secret of a connection, owned by both identities."""
    return {
        "id": connection.name,
        "type": "IKE",
        "data": auth.secret,
        "owners": [connection.local.identity, connection.remote.identity],
    }


def key_message(auth: Certificate) -> dict[str, Any]:
    """The message of ``load-key``."""
    return {"type": "any", "data": auth.key}


def initiate_message(request: Initiate, child: str) -> dict[str, Any]:
    """The message of ``initiate``; its log lines stream at charon's level 1."""
    timeout = round(request.timeout * 1000)
    return {"ike": request.connection, "child": child, "timeout": timeout, "loglevel": 1}


def selector_message(selector: SaSelector) -> dict[str, Any]:
    """The selector of ``rekey`` and ``terminate``, and the filter of ``list-sas``."""
    parts = {
        "ike": selector.connection,
        "child": selector.child,
        "ike-id": selector.ike_id,
        "child-id": selector.child_id,
    }
    return {key: value for key, value in parts.items() if value is not None}


def target_message(ike: IkeSa, child: ChildSa | None) -> dict[str, Any]:
    """The selector of exactly this SA."""
    return {"ike-id": ike.unique_id} if child is None else {"child-id": child.unique_id}


def _number(section: Message, key: str) -> int | None:
    return int(section[key]) if key in section else None


def _algorithm(section: Message, kind: str) -> str | None:
    if f"{kind}-alg" not in section:
        return None
    size = section.get(f"{kind}-keysize")
    return f"{section[f'{kind}-alg']}-{size}" if size else str(section[f"{kind}-alg"])


def child_sa(section: Message) -> ChildSa:
    """A CHILD_SA from its section of ``list-sa``, ``child-updown`` or ``child-rekey``."""
    return ChildSa(
        name=section["name"],
        unique_id=int(section["uniqueid"]),
        reqid=int(section["reqid"]),
        state=section["state"],
        mode=section["mode"],
        local_ts=tuple(section.get("local-ts", ())),
        remote_ts=tuple(section.get("remote-ts", ())),
        protocol=section.get("protocol"),
        encap="encap" in section,
        spi_in=section.get("spi-in"),
        spi_out=section.get("spi-out"),
        encryption=_algorithm(section, "encr"),
        integrity=_algorithm(section, "integ"),
        dh_group=section.get("dh-group"),
        bytes_in=_number(section, "bytes-in"),
        packets_in=_number(section, "packets-in"),
        bytes_out=_number(section, "bytes-out"),
        packets_out=_number(section, "packets-out"),
        rekey_in=_number(section, "rekey-time"),
        expires_in=_number(section, "life-time"),
        installed_for=_number(section, "install-time"),
    )


def ike_sa(name: str, section: Message, children: tuple[ChildSa, ...] = ()) -> IkeSa:
    """An IKE SA from its section of ``list-sa`` or of an event."""
    return IkeSa(
        name=name,
        unique_id=int(section["uniqueid"]),
        version=int(section["version"]),
        state=section["state"],
        initiator="initiator" in section,
        initiator_spi=section["initiator-spi"],
        responder_spi=section["responder-spi"],
        local_address=section["local-host"],
        local_port=int(section["local-port"]),
        local_id=section["local-id"],
        remote_address=section["remote-host"],
        remote_port=int(section["remote-port"]),
        remote_id=section["remote-id"],
        encryption=_algorithm(section, "encr"),
        integrity=_algorithm(section, "integ"),
        prf=section.get("prf-alg"),
        dh_group=section.get("dh-group"),
        nat="nat-any" in section,
        established_for=_number(section, "established"),
        rekey_in=_number(section, "rekey-time"),
        reauth_in=_number(section, "reauth-time"),
        tasks=tuple(
            task for queue in ("active", "passive", "queued") for task in section.get(f"tasks-{queue}", ())
        ),
        children=children,
    )


class LogLine(NamedTuple):
    """A line of charon's log, and the unique id of the IKE SA that it is about."""

    text: str
    ike_id: int | None


def log_line(message: Message) -> LogLine:
    """A ``log`` or ``control-log`` event."""
    ike_id = message.get("ikesa-uniqueid")
    return LogLine(message["msg"], None if ike_id is None else int(ike_id))


def sections(message: Message) -> Iterator[tuple[str, Message]]:
    """The named sections of a message, beside which stand its plain values."""
    for name, section in message.items():
        if isinstance(section, Mapping):
            yield name, section


def listed_sas(message: Message) -> Iterator[IkeSa]:
    """The IKE SAs of a ``list-sa`` event."""
    for name, section in sections(message):
        children = tuple(child_sa(child) for child in section.get("child-sas", {}).values())
        yield ike_sa(name, section, children)


def listed_connections(message: Message) -> Iterator[LoadedConnection]:
    """The connections of a ``list-conn`` event."""
    for name, section in sections(message):
        rounds = dict(sections(section))
        yield LoadedConnection(
            name=name,
            version=section["version"],
            local_addresses=tuple(section.get("local_addrs", ())),
            remote_addresses=tuple(section.get("remote_addrs", ())),
            local_auth=_first_class(rounds, "local"),
            remote_auth=_first_class(rounds, "remote"),
            children=tuple(section.get("children", {})),
        )


def _first_class(rounds: Mapping[str, Message], side: str) -> str | None:
    return next((section.get("class") for name, section in rounds.items() if name.startswith(side)), None)
