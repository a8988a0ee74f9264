"""The seam between the IKEv1 endpoint and whatever carries its ESP.

Security associations, policies and what is told of them are :mod:`nodes.esp.sa`'s, and named here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Literal, Protocol

import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream

from nodes import errors
from nodes.esp.sa import Direction, EspEvent, EspSa, FirstPacket, LimitReached, Limits, NoSa, Policy, Usage

__all__ = [
    "DataPlane",
    "DataPlaneError",
    "DataPlaneEvent",
    "DataPlaneName",
    "Direction",
    "EspSa",
    "FirstPacket",
    "IkeDatagram",
    "LimitReached",
    "Limits",
    "NoSa",
    "Policy",
    "Usage",
]

DataPlaneName = Literal["kernel", "userspace"]
DataPlaneEvent = EspEvent


class IkeDatagram(msgspec.Struct, frozen=True):
    """An IKE message on UDP port 4500, without its non-ESP marker (RFC 3948)."""

    octets: bytes
    local: IPv6Address
    remote: IPv6Address
    remote_port: int


class DataPlaneError(errors.NodeError):
    """The data plane did not do what it was told, or died; the text says what and why."""


class DataPlane(Protocol):
    """What carries ESP. Every call is done when it returns, and raises :class:`DataPlaneError` if it is not.

    A call that is cancelled may or may not have been done.
    """

    name: DataPlaneName
    reason: str
    """Why it is this data plane."""
    encapsulates: bool
    """Whether it carries ESP in UDP port 4500; plain ESP it always carries."""
    events: MemoryObjectReceiveStream[DataPlaneEvent]
    ike_messages: MemoryObjectReceiveStream[IkeDatagram]

    async def install_policy(self, policy: Policy) -> None:
        """Protect this traffic from now on, and drop what of it comes in clear.

        The same policy again changes nothing.

        Without an SA its packets are told of (:class:`NoSa`) and lost, in silence for the sender; while an
        inbound SA of the policy waits for its first outbound one they are held, as many as the plane can.
        """

    async def remove_policy(self, reqid: int) -> None:
        """Protect the traffic of this policy no longer. Without such a policy nothing happens."""

    async def install_inbound(self, sa: EspSa) -> None:
        """Accept packets under this SA. The ``spi`` must be free."""

    async def install_outbound(self, sa: EspSa) -> None:
        """Send under this SA: of the outbound SAs of a policy the newest is in use, at once.

        Packets that were held for the policy leave under it first.
        """

    async def remove_inbound(self, spi: int) -> None:
        """Forget an inbound SA. Without such an SA nothing happens."""

    async def remove_outbound(self, spi: int) -> None:
        """Forget an outbound SA; the newest of those that are left is in use. Without it nothing happens."""

    async def usage(self) -> Mapping[tuple[Direction, int], Usage]:
        """The usage of every SA that is installed."""

    async def send_ike(self, datagram: IkeDatagram) -> None:
        """Send an IKE message from port 4500; the non-ESP marker is put before it here.

        What the network refuses is lost in silence, as it might be on its way.
        """
