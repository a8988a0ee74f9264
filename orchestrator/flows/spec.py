"""What a probe flow is to be."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import re
from collections.abc import Sequence

from nodes import errors
from nodes.traffic.arguments import MAX_RATE, MIN_RATE
from nodes.traffic.probe import MAX_SIZE, MIN_SIZE

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Transport(enum.StrEnum):
    """What carries a flow."""

    UDP = "udp"
    TCP = "tcp"
    MPTCP = "mptcp"
    QUIC = "quic"

    @property
    def is_stream(self) -> bool:
        """Whether the probes are records of one connection, in order."""
        return self is not Transport.UDP

    def program(self, end: str) -> str:
        """The module in a node that is an end of such a flow: ``send`` or ``receive``."""
        return f"nodes.traffic.{'quic_' if (self, end) == (Transport.QUIC, 'send') else ''}{end}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowSpec:
    """A flow of probes from one node to another.

    Attributes:
        name: of the flow, unique in its run; also the name of its logs.
        source: the node that sends.
        destination: the node that receives.
        source_address: the address that is sent from, one of the source's.
        destination_address: the address that is sent to, one of the destination's.
        transport: a datagram a probe, or one connection that carries the probes as records.
        rate: probes per second, 10 to 10,000.
        size: octets of a probe, 24 to 65,000, without the headers of UDP or TCP and IPv6.
        count: end after this many probes; with ``None``, when stopped.
        port: the port to receive on; 0 for any free one.
        held: both ends are ready, and the sender waits for :meth:`~orchestrator.flows.running.Flows.begin`.
        congestion: the congestion control of a stream; None is the node's default, and with QUIC cubic.
        by_packets: the times of a TCP flow are those of its packets, where there are captures; else those
            at which its application had the records, as with other streams.

    Raises:
        ParameterError: a value is out of its range.
    """

    name: str
    source: str
    destination: str
    source_address: ipaddress.IPv6Address
    destination_address: ipaddress.IPv6Address
    transport: Transport = Transport.UDP
    rate: int = 500
    size: int = 200
    count: int | None = None
    port: int = 0
    held: bool = False
    congestion: str | None = None
    by_packets: bool = True

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise errors.ParameterError(
                f"flow name {self.name!r}: use letters, digits, '.', '_' and '-', at most 100, no '.' first"
            )
        self._check("rate", self.rate, MIN_RATE, MAX_RATE)
        self._check("size", self.size, MIN_SIZE, MAX_SIZE)
        self._check("port", self.port, 0, 65_535)
        if self.count is not None and self.count < 1:
            raise errors.ParameterError(f"flow {self.name}: count {self.count} is below 1")

    def _check(self, what: str, value: int, low: int, high: int) -> None:
        if not low <= value <= high:
            raise errors.ParameterError(f"flow {self.name}: {what} {value} is not from {low} to {high}")

    def reverse(self, name: str) -> FlowSpec:
        """The same flow the other way."""
        return dataclasses.replace(
            self,
            name=name,
            source=self.destination,
            destination=self.source,
            source_address=self.destination_address,
            destination_address=self.source_address,
        )


def check_names(specs: Sequence[FlowSpec]) -> None:
    """See to it that each flow has a name of its own.

    Raises:
        ParameterError: two have the same.
    """
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise errors.ParameterError(f"two flows are called {name!r}")
