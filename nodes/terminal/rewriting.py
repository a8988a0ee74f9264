"""What the data plane's maps hold: what sockets know on one side, what the wire carries on the other. No I/O.

Stateless: each packet is looked up once, by its addresses, ports and protocol, and the answer holds all that
is to be written. The maps, with an element for each thing that is rewritten:

``out``           a packet that a socket sends                    socket → wire
``out_ported``    the same, with other ports too                  socket → wire
``out_labelled``  the same, with a flow label of its own          socket → wire
``in``            a packet from the wire                          wire → socket
``in_ported``     the same, with other ports too                  wire → socket
``error_in``      what an ICMPv6 error from the wire quotes       wire → socket
``error_out``     what an ICMPv6 error of this host quotes        socket → wire

and the set ``closed`` of what the wire may no longer carry to a socket. An ICMPv6 echo has its identifier in
the place of the ports.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Set
from ipaddress import IPv6Address

from nodes.terminal.actions import ICMPV6, Endpoint, Flow, Path, Rewriting
from nodes.terminal.nf_tables import Element, Message, add_elements, delete_elements

TABLE = "hopbed_hop"
OUT, OUT_PORTED, OUT_LABELLED = ("out", "out_ported", "out_labelled")
IN, IN_PORTED = ("in", "in_ported")
ERROR_IN, ERROR_OUT = ("error_in", "error_out")
MAPS = (OUT, OUT_PORTED, OUT_LABELLED, IN, IN_PORTED, ERROR_IN, ERROR_OUT)
CLOSED = "closed"

KEY = 40
"""Octets of a key: addresses 32, ports 4, protocol 1 and 3 of padding."""
DATA = 40
"""Octets of an element's data: addresses 32, ports 4, flow label 2 and 2 of padding."""

Contents = Mapping[str, Mapping[bytes, bytes]]
"""Data by key, by map; a set's keys have no data."""


def contents(
    rewritings: Iterable[Rewriting], aliases: Mapping[Flow, Set[IPv6Address]]
) -> dict[str, dict[bytes, bytes]]:
    """What the maps hold for these rewritings.

    Args:
        rewritings: what is to be done with each flow.
        aliases: further local addresses that the kernel may choose for the packets of a flow whose socket has
        no
            address of its own; they leave as the flow's do.
    """
    found: dict[str, dict[bytes, bytes]] = {name: {} for name in (*MAPS, CLOSED)}
    for one in rewritings:
        flow, own = one.flow, Path(one.flow.local, one.flow.remote)
        sources = {flow.local.address, *aliases.get(flow, ())}
        if one.out == own and one.flow_label is None:
            sources.discard(flow.local.address)
        out, label = OUT if _same_ports(one.out, own) else OUT_PORTED, 0
        if one.flow_label is not None:
            out, label = OUT_LABELLED, one.flow_label & 0xFFFF
        for source in sources:
            key = _sent(flow.protocol, Path(Endpoint(source, flow.local.port), flow.remote))
            found[out][key] = _addressed(flow.protocol, one.out) + struct.pack("!H2x", label)
        for path in one.accepted:
            data = _addressed(flow.protocol, _reverse(own)) + bytes(4)
            found[IN if _same_ports(path, own) else IN_PORTED][_received(flow.protocol, path)] = data
        for path in {one.out, *one.accepted} - {own}:
            found[ERROR_IN][_sent(flow.protocol, path)] = _addressed(flow.protocol, own) + bytes(4)
        if one.out != own:
            found[ERROR_OUT][_received(flow.protocol, own)] = _addressed(
                flow.protocol, _reverse(one.out)
            ) + bytes(4)
        if one.dropped:
            found[CLOSED][_received(flow.protocol, own)] = b""
    return found


def difference(present: Contents, wanted: Contents) -> list[Message]:
    """The messages that turn one content into the other; none where they are equal."""
    messages = []
    for name, want in wanted.items():
        have = present.get(name, {})
        old = [key for key, data in have.items() if want.get(key) != data]
        new = [Element(key, data) for key, data in want.items() if have.get(key) != data]
        messages += delete_elements(TABLE, name, old) + add_elements(TABLE, name, new)
    return messages


def flow_of(key: bytes, *, local_first: bool) -> Flow:
    """The flow that a key names.

    Args:
        key: as it is in a map or a set.
        local_first: it is of a packet that this end sends, not one that it receives.
    """
    first, second = struct.unpack_from("!HH", key, 32)
    protocol = key[36]
    sender = Endpoint(IPv6Address(key[:16]), first)
    receiver = Endpoint(IPv6Address(key[16:32]), first if protocol == ICMPV6 else second)
    return Flow(protocol, sender, receiver) if local_first else Flow(protocol, receiver, sender)


def sent_key(flow: Flow) -> bytes:
    """The key of a packet that this end sends, as its socket knows it."""
    return _sent(flow.protocol, Path(flow.local, flow.remote))


def _same_ports(one: Path, other: Path) -> bool:
    return (one.local.port, one.remote.port) == (other.local.port, other.remote.port)


def _reverse(path: Path) -> Path:
    return Path(path.remote, path.local)


def _sent(protocol: int, path: Path) -> bytes:
    return _addressed(protocol, path) + struct.pack("!B3x", protocol)


def _received(protocol: int, path: Path) -> bytes:
    return _sent(protocol, _reverse(path))


def _addressed(protocol: int, path: Path) -> bytes:
    sender, receiver = path
    ports = (sender.port, 0 if protocol == ICMPV6 else receiver.port)
    return sender.address.packed + receiver.address.packed + struct.pack("!HH", *ports)
