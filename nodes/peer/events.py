"""Charon's events in the field's terms, without I/O.

=======================  ===============================================================================
``ike-sa.established``   the fields of :class:`~nodes.peer.model.IkeSa`, without children
``ike-sa.deleted``       the same
``ike-sa.rekeyed``       ``name``, ``old`` and ``new``, each the same
``ike-sa.moved``         the same, as it was, and where it moved ``to``: addresses and ports
``child-sa.installed``   ``ike``, ``ike_id``, ``version``, and :class:`~nodes.peer.model.ChildSa`'s fields
``child-sa.deleted``     the same
``child-sa.rekeyed``     ``ike``, ``ike_id``, ``version``, ``name``, ``old`` and ``new``, each such fields
``ike.alert``            ``alert``; ``name`` and ``ike_id`` of its IKE SA, if any (from strongSwan 6.0.3)
``charon.log``           ``group``, ``level``, ``text``; ``name`` and ``ike_id`` of its IKE SA, if any
=======================  ===============================================================================

Charon does not tell when the CHILD_SA that a rekey replaced goes: ``child-sa.rekeyed`` is its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from nodes.peer.messages import Message, child_sa, ike_sa, sections
from nodes.peer.model import ChildSa, IkeSa

Told = tuple[str, dict[str, Any]]
"""An event's kind and data."""

SA_EVENTS = ("ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey")
OPTIONAL_EVENTS = ("alert",)
"""Events that only newer releases know."""
LOG_EVENT = "log"
LOG_KIND = "charon.log"


def _ike_fields(sa: IkeSa) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(sa)
    del fields["children"]
    return fields


def _child_fields(sa: ChildSa) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(sa)
    return fields


def _ike_updown(message: Message) -> Iterator[Told]:
    kind = "ike-sa.established" if "up" in message else "ike-sa.deleted"
    for name, section in sections(message):
        yield kind, _ike_fields(ike_sa(name, section))


def _ike_rekey(message: Message) -> Iterator[Told]:
    for name, section in sections(message):
        old, new = (_ike_fields(ike_sa(name, section[one])) for one in ("old", "new"))
        yield "ike-sa.rekeyed", {"name": name, "old": old, "new": new}


def _ike_update(message: Message) -> Iterator[Told]:
    """A move, but not the change to port 4500 in the middle of a negotiation (RFC 3947, RFC 7296 §2.23)."""
    to = {
        "local_address": message["local-host"],
        "local_port": int(message["local-port"]),
        "remote_address": message["remote-host"],
        "remote_port": int(message["remote-port"]),
    }
    for name, section in sections(message):
        if section["state"] != "CONNECTING":
            yield "ike-sa.moved", _ike_fields(ike_sa(name, section)) | {"to": to}


def _of_ike(name: str, section: Message) -> dict[str, Any]:
    return {"ike": name, "ike_id": int(section["uniqueid"]), "version": int(section["version"])}


def _child_updown(message: Message) -> Iterator[Told]:
    kind = "child-sa.installed" if "up" in message else "child-sa.deleted"
    for name, section in sections(message):
        for child in section.get("child-sas", {}).values():
            yield kind, _of_ike(name, section) | _child_fields(child_sa(child))


def _child_rekey(message: Message) -> Iterator[Told]:
    for name, section in sections(message):
        for child_name, pair in section.get("child-sas", {}).items():
            old, new = (_child_fields(child_sa(pair[one])) for one in ("old", "new"))
            yield "child-sa.rekeyed", _of_ike(name, section) | {"name": child_name, "old": old, "new": new}


def _alert(message: Message) -> Iterator[Told]:
    told: dict[str, Any] = {"alert": message["type"]}
    for name, section in sections(message.get("ike-sa", {})):
        told |= {"name": name, "ike_id": int(section["uniqueid"])}
    yield "ike.alert", told


def _log(message: Message) -> Iterator[Told]:
    told: dict[str, Any] = {"group": message["group"], "level": int(message["level"]), "text": message["msg"]}
    if "ikesa-name" in message:
        told |= {"name": message["ikesa-name"], "ike_id": int(message["ikesa-uniqueid"])}
    yield LOG_KIND, told


_READERS: Mapping[str, Callable[[Message], Iterator[Told]]] = {
    "ike-updown": _ike_updown,
    "ike-rekey": _ike_rekey,
    "ike-update": _ike_update,
    "child-updown": _child_updown,
    "child-rekey": _child_rekey,
    "alert": _alert,
    LOG_EVENT: _log,
}


def told(vici_event: str, message: Message) -> Iterator[Told]:
    """What a VICI event tells, as events of the stream."""
    yield from _READERS[vici_event](message)
