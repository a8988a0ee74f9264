"""The values that cross the control channel of an IKEv1 endpoint.

They are the peer's (:mod:`nodes.peer.model`) wherever these fit, so that a scenario can put either in either
place; what the endpoint can do beyond a peer stands in fields of its own, each with a default.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from nodes.ike import proposals
from nodes.peer.model import Child, Connection, Psk

Timing = Literal["stock", "early"]
"""When a responder installs an SA: on the third message of Quick Mode, or on the first."""

Exchange = Literal["main-mode", "quick-mode", "informational"]
Fault = Literal[
    "wrong-psk",
    "wrong-proposal",
    "wrong-id",
    "bad-version",
    "malformed-header",
    "malformed-payload",
    "corrupted",
    "silence",
]
"""What a message of ours is made to be: see :mod:`nodes.ike.misbehaviour`."""

Count = Annotated[int, Meta(ge=0)]
Delay = Annotated[float, Meta(gt=0, le=86400)]


class Misbehaviour(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault of our own making.

    Attributes:
        fault: what is wrong.
        exchange: where; ``wrong-psk`` and ``wrong-id`` belong to main mode alone.
        message: the number of our message in the exchange, from 1; None is each. ``silence`` comes after it.
        times: in how many negotiations; 0 in every one.
    """

    fault: Fault
    exchange: Exchange = "main-mode"
    message: Annotated[int, Meta(ge=1, le=6)] | None = None
    times: Count = 0


class IkeChild(Child, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A child with what the endpoint can do beyond a peer; 0 is no limit.

    ``rekey_octets`` begins a rekey; ``life_packets`` and ``life_octets`` end an SA.
    ``replay_window`` is in packets.
    """

    rekey_octets: Count = 0
    life_packets: Count = 0
    life_octets: Count = 0
    replay_window: Annotated[int, Meta(ge=64, le=4096, multiple_of=32)] = 64


class IkeConnection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``ike.load``: a peer's connection, of version 1 and with a pre-shared key.

    What is None is as the endpoint's own options say.

    Attributes:
        timing: when we, as responder, install an SA.
        esp_trigger: whether, with ``early``, the first authenticated ESP packet makes it effective.
        confirm_timeout: seconds after which a new SA that nothing confirmed is removed.
        dpd_timeout: seconds of silence after which a partner is dead; 0 is as long as we retransmit.
        misbehaviour: what we do wrong on purpose.
    """

    children: Annotated[tuple[IkeChild, ...], Meta(min_length=1)]
    version: Literal[1, 2] = 1
    timing: Timing | None = None
    esp_trigger: bool | None = None
    confirm_timeout: Delay | None = None
    dpd_timeout: Annotated[float, Meta(ge=0)] = 0
    misbehaviour: tuple[Misbehaviour, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.version != 1:
            raise ValueError("the IKEv1 endpoint speaks version 1")
        if not isinstance(self.auth, Psk):
            raise ValueError("the IKEv1 endpoint authenticates by a pre-shared key")  # noqa: TRY004
        for words in self.ike_proposals:
            proposals.ike_suite(words)
        for child in self.children:
            for words in child.esp_proposals:
                proposals.esp_suites(words, child.pfs)


class Status(Struct, frozen=True, kw_only=True):
    """The result of ``ike.status``.

    ``rejected`` counts messages that were refused, by reason. ``memory`` in octets (resident set), ``uptime``
    in seconds. ``ipsec_sas`` are pairs, those that await their DELETE among them.
    """

    dataplane: str
    dataplane_reason: str
    timing: Timing
    esp_trigger: bool
    pid: int
    uptime: float
    memory: int
    ike_sas: int
    half_open: int
    ipsec_sas: int
    rejected: dict[str, int]
