"""The settings of a peer, from ``x-hopbed`` of the compose file."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from nodes import errors
from nodes.abnormality.model import AbnormalityOptions


class PeerOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a peer can be told.

    Attributes:
        address: the node's address on the bridge.
        inner_address: its address in its inner prefix, with the prefix length; None: it has none.
        dataplane: what carries ESP; ``auto`` is the kernel where that works, else user space.
        retransmit_timeout: seconds until the first retransmission; None is charon's default (4.0).
        retransmit_base: the factor between intervals; None is charon's default (1.8).
        retransmit_tries: retransmissions before giving up; None is charon's default (5).
        log_level: charon's level for ``charon.log``; 4 would write keys and is not allowed.
        publish_log: log lines up to this level become ``charon.log`` events; None: none do.
        abnormality: method 2: whether a guard stands beside charon from the start, and its times.
        keys: charon writes every key that it derives into ``charon-keys.log``, and so into the evidence.
    """

    address: str | None = None
    inner_address: str | None = None
    dataplane: Literal["auto", "kernel", "userspace"] = "auto"
    retransmit_timeout: Annotated[float, Meta(gt=0)] | None = None
    retransmit_base: Annotated[float, Meta(ge=1)] | None = None
    retransmit_tries: Annotated[int, Meta(ge=0)] | None = None
    log_level: Annotated[int, Meta(ge=-1, le=3)] = 1
    publish_log: Annotated[int, Meta(ge=0, le=1)] | None = None
    keys: bool = False
    abnormality: AbnormalityOptions = AbnormalityOptions()

    def __post_init__(self) -> None:
        if self.inner_address is not None:
            try:
                ipaddress.ip_interface(self.inner_address)
            except ValueError as error:
                raise ValueError(f"inner_address: {error}") from None


def peer_options(options: Mapping[str, Any]) -> PeerOptions:
    """The options of a node that plays a peer.

    Raises:
        UsageError: one is unknown or out of range; the text names it.
    """
    try:
        return msgspec.convert(dict(options), PeerOptions)
    except msgspec.ValidationError as error:
        raise errors.UsageError(f"x-hopbed of a peer: {error}") from error
