"""What the scenario ``address-hop`` can be told, and what makes no sense together."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.scenarios.scenario import Parameters

_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(us|ms|s)?")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, None: 1.0}
_TRANSPORTS = ("udp", "tcp", "icmpv6")
_APPLICATIONS = ("curl", "iperf3", "ssh")
_ENDURANCE = 1.2
"""A download is paced to last so much longer than the hops, and :data:`_MARGIN` seconds more."""
_MARGIN = 3.0


def _time(value: Any) -> Any:
    """A time as text with a unit, in seconds; anything else is left to the type."""
    if isinstance(value, str):
        found = _TIME.fullmatch(value.strip())
        if found is None:
            raise ValueError("a time is a number with us, ms or s, such as 50ms")
        return float(found[1]) * _SECONDS[found[2]]
    return value


def _names(known: tuple[str, ...]) -> BeforeValidator:
    def names(value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(word for word in (part.strip() for part in value.split(",")) if word != "none")
        for word in value:
            if word not in known:
                raise ValueError(f"{word!r} is none of {', '.join(known)}")
        return tuple(dict.fromkeys(word for word in value if word))

    return BeforeValidator(names)


Time = Annotated[float, BeforeValidator(_time)]


class AddressHopScenario(Parameters):
    """The parameters of ``address-hop``."""

    kind: Annotated[
        Literal["interface-id", "prefix", "both", "ra"], Field(description="which part of the address hops")
    ] = "both"
    hops: Annotated[int, Field(ge=1, le=100_000, description="hops of each side")] = 20
    period: Annotated[Time, Field(ge=0.02, le=3600, description="from one hop to the next, such as 50ms")] = (
        0.25
    )
    jitter: Annotated[Time, Field(ge=0, le=3600, description="by how much a hop may be later, by chance")] = 0
    preferred: Annotated[
        Time | None,
        Field(ge=1, le=3600, description="preferred lifetime: the kernel's expiry drives the hops"),
    ] = None
    valid: Annotated[
        Time | None, Field(ge=1, le=3600, description="valid lifetime, with a preferred one")
    ] = None
    side: Annotated[Literal["one", "both"], Field(description="whose address hops")] = "one"
    partner: Annotated[
        Literal["terminal", "legacy", "silent", "refusing"],
        Field(description="who is at the other end: legacy is a host that knows nothing of hops"),
    ] = "terminal"
    carriage: Annotated[Literal["option", "udp"], Field(description="how messages travel")] = "option"
    option_type: Annotated[
        Literal["0xde", "0x1e", "0x9e"], Field(description="type of the destination option")
    ] = "0xde"
    transports: Annotated[
        tuple[str, ...], _names(_TRANSPORTS), Field(description="probe traffic, of udp,tcp,icmpv6")
    ] = ("udp", "tcp")
    applications: Annotated[
        tuple[str, ...], _names(_APPLICATIONS), Field(description="of curl,iperf3,ssh; or none")
    ] = ()
    rate: Annotated[int, Field(ge=10, le=10_000, description="UDP probes per second, each way")] = 1000
    tcp_rate: Annotated[int, Field(ge=10, le=10_000, description="TCP records per second, each way")] = 200
    download: Annotated[int, Field(ge=1, le=4000, description="what curl downloads, MB")] = 400
    bitrate: Annotated[int, Field(ge=1, le=100_000, description="what iperf3 sends, Mbit/s")] = 200
    mechanism: Annotated[
        Literal["none", "mptcp", "quic", "hopbed"] | None,
        Field(description="compare mechanisms: a stream and a bulk transfer over each, hopping alike"),
    ] = None
    delay: Annotated[Time, Field(ge=0, le=2, description="round-trip time of the path, such as 40ms")] = 0
    congestion: Annotated[
        Literal["cubic", "reno"], Field(description="congestion control of what is compared")
    ] = "cubic"
    bulk: Annotated[int, Field(ge=1, le=1000, description="Mbit/s of the bulk transfer that is compared")] = (
        10
    )
    flow_labels: Annotated[bool, Field(description="a fresh flow label for each hop")] = False
    move_ports: Annotated[bool, Field(description="other ports on the wire after each hop")] = False
    plain: Annotated[
        bool, Field(description="a plain socket beside it, of a host whose address goes with the first hop")
    ] = False
    scan: Annotated[bool, Field(description="a scanner looks for the first and the retired addresses")] = True

    @model_validator(mode="after")
    def _fits_together(self) -> AddressHopScenario:
        if (self.preferred is None) != (self.valid is None):
            raise ValueError("preferred and valid go together")
        for name in ("preferred", "valid"):
            if (value := getattr(self, name)) is not None and value != int(value):
                raise ValueError(f"{name}={value:g} s: the kernel counts lifetimes in whole seconds")
        if self.preferred is not None and self.valid is not None and self.valid <= self.preferred:
            raise ValueError("valid must be longer than preferred, or there is no time for a hop")
        if self.kind == "ra" and self.preferred is None:
            raise ValueError("kind=ra needs preferred and valid: what the router advertises")
        if self.jitter >= self.period:
            raise ValueError("jitter must be shorter than period")
        if self.side == "both" and (self.partner != "terminal" or self.kind == "ra"):
            raise ValueError("side=both needs partner=terminal, and addresses that no router advertises")
        if not self.transports and not self.applications:
            raise ValueError("transports and applications are both none: there is nothing to look at")
        if self.plain and (self.partner == "legacy" or self.kind == "ra"):
            raise ValueError("plain=true takes the host, which is the partner, or the router, already")
        if self.mechanism is not None:
            self._is_a_comparison()
        return self

    def _is_a_comparison(self) -> None:
        told = {
            name: getattr(self, name)
            for name, least in (
                ("partner", "terminal"),
                ("side", "one"),
                ("preferred", None),
                ("applications", ()),
            )
            if getattr(self, name) != least
        }
        if told or self.kind == "ra":
            raise ValueError(
                "a comparison of mechanisms is without partner, side, preferred, applications, and kind=ra"
            )

    @property
    def by_lifetimes(self) -> bool:
        """Whether the kernel's own lifetimes drive the hops."""
        return self.preferred is not None

    @property
    def every(self) -> float:
        """Seconds from one hop to the next."""
        return self.period if self.preferred is None else self.preferred

    @property
    def hopping_seconds(self) -> float:
        """About how long all the hops take."""
        lag = 0.0 if self.preferred is None or self.valid is None else self.valid - self.preferred
        return self.hops * self.every + lag

    @property
    def application_seconds(self) -> float:
        """By which a download is paced; it ends, like every application, when the last hop is over."""
        return self.hopping_seconds * _ENDURANCE + _MARGIN
