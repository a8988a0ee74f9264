"""A pair of IPsec SAs, and what the control channel and the events tell of it. No I/O."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from nodes.ike.crypto.groups import Group
from nodes.ike.dataplane.base import Direction, EspSa, Usage
from nodes.ike.profile import ChildProfile, Profile
from nodes.ike.proposals import EspSuite
from nodes.ike.timers import Timer
from nodes.peer.model import ChildSa

_GROUPS = {Group.ECP256: "ECP_256", Group.MODP2048: "MODP_2048"}
_ENCRYPTION = {"aes-gcm-16": "AES_GCM_16", "aes-cbc": "AES_CBC"}


def group_name(group: Group | None) -> str | None:
    """A group's name as charon writes it."""
    return None if group is None else _GROUPS[group]


def spi_text(spi: int) -> str:
    """An ESP SPI as the events write it."""
    return f"{spi:08x}"


class PairState(enum.Enum):
    """How far a pair is: the seed's two moments, and what follows them."""

    NEGOTIATING = "NEGOTIATING"
    """Nothing is installed."""
    INSTALLED = "INSTALLED"
    """The inbound SA accepts packets."""
    EFFECTIVE = "EFFECTIVE"
    """The outbound SA is in use."""
    OLD = "OLD"
    """Another pair's outbound SA is in use instead; the inbound SA still accepts packets."""
    DELETED = "DELETED"


@dataclasses.dataclass(eq=False, repr=False)
class IpsecSa:
    """A pair of IPsec SAs.

    Attributes:
        id: unique in this endpoint.
        initiator: whether we initiated its Quick Mode.
        inbound, outbound: its two halves.
        life_time: seconds until the hard lifetime, of what both sides want the shorter; 0 is none.
        replaces: the pair that it is to replace.
        heard: whether an authenticated packet came under it.
    """

    id: int
    profile: Profile
    child: ChildProfile
    initiator: bool
    suite: EspSuite
    inbound: EspSa
    outbound: EspSa
    life_time: int
    replaces: IpsecSa | None = None
    state: PairState = PairState.NEGOTIATING
    installed_at: float | None = None
    soft_at: float | None = None
    hard_at: float | None = None
    heard: bool = False
    effective_by: str | None = None
    """What made it effective: ``esp``, ``qm3``, and ``qm2`` for an initiator."""
    activating: bool = False
    """Its outbound half is being installed."""
    rekeying: bool = False
    """A Quick Mode of ours is to replace it."""
    gone: Callable[[str], None] | None = None
    """Told, with the reason, when it is deleted before its Quick Mode is over."""
    timers: list[Timer] = dataclasses.field(default_factory=list)

    @property
    def spis(self) -> tuple[str, str]:
        """The SPIs in and out."""
        return spi_text(self.inbound.spi), spi_text(self.outbound.spi)

    @property
    def live(self) -> bool:
        """Whether it accepts packets."""
        return self.state in (PairState.INSTALLED, PairState.EFFECTIVE, PairState.OLD)

    def stop_timers(self) -> None:
        """Let nothing more become due for it."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()


def described(
    pair: IpsecSa, now: float, usage: Mapping[tuple[Direction, int], Usage] | None = None
) -> ChildSa:
    """A pair as the control channel tells it."""
    usage = usage or {}
    there = usage.get(("in", pair.inbound.spi))
    back = usage.get(("out", pair.outbound.spi))
    spi_in, spi_out = pair.spis
    return ChildSa(
        name=pair.child.name,
        unique_id=pair.id,
        reqid=pair.child.reqid,
        state=pair.state.value,
        mode="TUNNEL",
        local_ts=(str(pair.inbound.local_ts),),
        remote_ts=(str(pair.inbound.remote_ts),),
        protocol="ESP",
        encap=pair.inbound.encap is not None,
        spi_in=spi_in,
        spi_out=spi_out,
        encryption=f"{_ENCRYPTION[pair.suite.encryption]}-{pair.suite.key_bits}",
        integrity="HMAC_SHA2_256_128" if pair.suite.encryption == "aes-cbc" else None,
        dh_group=group_name(pair.suite.group),
        bytes_in=None if there is None else there.octets,
        packets_in=None if there is None else there.packets,
        bytes_out=None if back is None else back.octets,
        packets_out=None if back is None else back.packets,
        rekey_in=None if pair.soft_at is None else max(0, round(pair.soft_at - now)),
        expires_in=None if pair.hard_at is None else max(0, round(pair.hard_at - now)),
        installed_for=None if pair.installed_at is None else round(now - pair.installed_at),
        effective_by=pair.effective_by,
    )


def fields(pair: IpsecSa, now: float) -> dict[str, Any]:
    """A pair as an event tells it."""
    told: dict[str, Any] = msgspec.to_builtins(described(pair, now))
    return told
