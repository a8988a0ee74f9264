"""IKE messages that two charons sent each other, as the bridge of a testbed saw them.

``ikev1-psk``: main mode, four Quick Modes with PFS and DELETEs; charon was made to send messages 1 to 3 of
the third Quick Mode again. ``ikev2-cert``: IKE_SA_INIT, IKE_AUTH with certificates, three rekeys with their
DELETEs; the request of the second was sent again.
"""

from __future__ import annotations

import functools
import ipaddress
from pathlib import Path
from typing import NamedTuple

from nodes.faults import datagrams, messages
from orchestrator.capture.pcapng import read_file

DATA = Path(__file__).parents[1] / "data"
INITIATOR, RESPONDER = "peer-a", "peer-b"


class Recorded(NamedTuple):
    packet: bytes
    sender: str
    message: messages.IkeMessage


@functools.cache
def recorded(name: str) -> tuple[Recorded, ...]:
    """The packets of a recording, from the IPv6 header on."""
    packets = read_file(DATA / f"{name}.pcapng")
    found: list[Recorded] = []
    first = None
    for number in range(1, len(packets) + 1):
        packet = bytes(packets.packet(number))[14:]
        datagram = datagrams.read(packet)
        assert datagram is not None
        first = first or datagram.source
        ike = messages.ike_octets(packet, datagram)
        assert ike is not None
        message = messages.read(packet[slice(*ike)])
        assert message is not None
        sender = INITIATOR if datagram.source == first else RESPONDER
        found.append(Recorded(packet, sender, message))
    return tuple(found)


def addresses(name: str) -> dict[str, tuple[str, ...]]:
    """The addresses of both ends of a recording."""
    header = recorded(name)[0].packet
    return {
        INITIATOR: (str(ipaddress.IPv6Address(header[8:24])),),
        RESPONDER: (str(ipaddress.IPv6Address(header[24:40])),),
    }
