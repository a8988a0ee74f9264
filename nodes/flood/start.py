"""What a flood is to be."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from msgspec import Meta, Struct

MAX_RATE = 20_000
MAX_COUNT = 1_000_000


class Start(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The argument of the program.

    Attributes:
        destination: the IPv6 address that is flooded.
        prefix: the IPv6 prefix, /64 or shorter, that the source addresses are of.
        version: of IKE: main mode's first message, or IKE_SA_INIT's request.
        rate: messages per second.
        count: messages in all.
        seed: where cookies, nonces and addresses come from.
    """

    destination: str
    prefix: str
    version: Literal[1, 2]
    rate: Annotated[int, Meta(ge=1, le=MAX_RATE)]
    count: Annotated[int, Meta(ge=1, le=MAX_COUNT)]
    seed: int = 0

    def __post_init__(self) -> None:
        ipaddress.IPv6Address(self.destination)
        if ipaddress.IPv6Network(self.prefix).prefixlen > 64:
            raise ValueError(f"prefix {self.prefix} is longer than /64")
