"""The endpoint's settings, from ``x-hopbed`` of the compose file and from the orchestrator."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from nodes import errors
from nodes.abnormality.model import AbnormalityOptions
from nodes.ike.model import Delay, Timing
from nodes.ike.retransmission import Schedule


class IkeOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an endpoint can be told.

    Attributes:
        address: the node's address on the bridge.
        inner_address: its address in its inner prefix, with the prefix length; None: it has none.
        dataplane: what carries ESP; ``auto`` is the kernel where that works, else user space.
        timing: when a responder installs an SA: ``stock`` on the third message of Quick Mode, ``early`` on
            the first.
        esp_trigger: with ``early``, the first authenticated ESP packet makes the SA effective too.
        retransmit_timeout, retransmit_base, retransmit_tries: as strongSwan's; the defaults are its own.
        confirm_timeout: seconds after which a new SA that nothing confirmed is removed; None is as long as we
            would send a message again.
        third_lead: seconds that an initiator goes on under the old SA after the third message has left, so
            that a stock responder, which installs the new one only then, has time to.
        retire_after: seconds that a replaced SA must have been silent before we delete it.
        half_open_timeout: seconds that a main mode has to come to its end.
        half_open_per_peer, half_open: main modes under way as responder, for an address and in all.
        first_messages: first messages that are looked at in a second, for an address.
        abnormality: method 2: whether it is in force from the start, and its times.
        keys: the endpoint writes its keys into the log folder, and so into the evidence.
    """

    address: str | None = None
    inner_address: str | None = None
    dataplane: Literal["auto", "kernel", "userspace"] = "auto"
    timing: Timing = "early"
    esp_trigger: bool = True
    retransmit_timeout: Annotated[float, Meta(gt=0)] = 4.0
    retransmit_base: Annotated[float, Meta(ge=1)] = 1.8
    retransmit_tries: Annotated[int, Meta(ge=0, le=20)] = 5
    confirm_timeout: Delay | None = None
    third_lead: Annotated[float, Meta(ge=0, le=10)] = 0.02
    retire_after: Delay = 5.0
    half_open_timeout: Delay = 30.0
    half_open_per_peer: Annotated[int, Meta(ge=1)] = 256
    half_open: Annotated[int, Meta(ge=1)] = 1024
    first_messages: Annotated[float, Meta(gt=0)] = 2000.0
    abnormality: AbnormalityOptions = AbnormalityOptions()
    keys: bool = False

    def __post_init__(self) -> None:
        for name, read in (("address", ipaddress.IPv6Address), ("inner_address", ipaddress.IPv6Interface)):
            value = getattr(self, name)
            try:
                if value is not None:
                    read(value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None

    @property
    def schedule(self) -> Schedule:
        """When a message is sent again."""
        return Schedule(self.retransmit_timeout, self.retransmit_base, self.retransmit_tries)


def ike_options(options: Mapping[str, Any]) -> IkeOptions:
    """The options of a node that plays an IKEv1 endpoint.

    Raises:
        UsageError: one is unknown or out of range; the text names it.
    """
    try:
        return msgspec.convert(dict(options), IkeOptions)
    except msgspec.ValidationError as error:
        raise errors.UsageError(f"x-hopbed of an IKEv1 endpoint: {error}") from error
