"""Which services support address updating: by protocol, port, and owner. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from nodes import errors
from nodes.terminal.actions import ICMPV6, TCP, UDP, Service
from nodes.terminal.message import Capability

PROTOCOLS = {"tcp": TCP, "udp": UDP, "icmpv6": ICMPV6}
Port = Annotated[int, Meta(ge=0, le=65535)]


class PolicyRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Says of the services that match all that it names whether they support address updating.

    Attributes:
        supported: what it says.
        protocol: tcp, udp, or icmpv6 (echo).
        port: the port at either end, as the sockets know it.
        ports: the first and the last of a range.
        uid: the owner of the socket.
        process: the name of the process.
    """

    supported: bool
    protocol: Literal["tcp", "udp", "icmpv6"] | None = None
    port: Port | None = None
    ports: tuple[Port, Port] | None = None
    uid: Annotated[int, Meta(ge=0)] | None = None
    process: str | None = None

    def __post_init__(self) -> None:
        if self.port is not None and self.ports is not None:
            raise ValueError("a rule names one port or a range of ports, not both")
        if self.ports is not None and self.ports[0] > self.ports[1]:
            raise ValueError(f"the range of ports {self.ports[0]} to {self.ports[1]} is empty")

    def matches(self, service: Service) -> bool:
        """Whether the rule is about this service; what the inventory does not know matches no such rule."""
        flow = service.flow
        ports = (flow.local.port, flow.remote.port)
        return (
            (self.protocol is None or PROTOCOLS[self.protocol] == flow.protocol)
            and (self.port is None or self.port in ports)
            and (self.ports is None or any(self.ports[0] <= port <= self.ports[1] for port in ports))
            and (self.uid is None or self.uid == service.uid)
            and (self.process is None or self.process == service.process)
        )


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a terminal supports, as first and as second terminal.

    Attributes:
        rules: the first that matches decides.
        otherwise: what holds for a service that no rule is about.
        prefix: whether partners may update their prefix.
        interface_id: whether partners may update their interface identifier.
    """

    rules: tuple[PolicyRule, ...] = ()
    otherwise: bool = True
    prefix: bool = True
    interface_id: bool = True

    def supports(self, service: Service) -> bool:
        """Whether this service supports address updating."""
        return next((rule.supported for rule in self.rules if rule.matches(service)), self.otherwise)

    @property
    def capability(self) -> Capability:
        """What partners may update."""
        prefix = Capability.PREFIX if self.prefix else Capability.NONE
        interface_id = Capability.INTERFACE_ID if self.interface_id else Capability.NONE
        return prefix | interface_id


def policy_of(rules: Sequence[object], **settings: object) -> Policy:
    """A policy from what a user wrote.

    Raises:
        ParameterError: a rule is none; the text says which and why.
    """
    try:
        return msgspec.convert({"rules": list(rules), **settings}, Policy)
    except msgspec.ValidationError as error:
        raise errors.ParameterError(f"policy: {error}") from None
