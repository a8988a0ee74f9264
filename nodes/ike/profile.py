"""A loaded connection as the negotiation needs it: parsed once, its secret out of every text. No I/O."""

from __future__ import annotations

import dataclasses
import ipaddress

from nodes.ike.messages.identification import Identification, identity
from nodes.ike.model import IkeChild, IkeConnection
from nodes.ike.proposals import EspSuite, IkeSuite, esp_suites, ike_suite
from nodes.peer.model import Psk

_OVER_TIME = 10
"""A lifetime that is not given is longer by a tenth than the time of the rekey, as charon's."""


def life_time(rekey_time: int, given: int | None = None) -> int:
    """Seconds after which an SA ends; 0 is never."""
    return rekey_time + rekey_time // _OVER_TIME if given is None else given


@dataclasses.dataclass(frozen=True, repr=False)
class ChildProfile:
    """A child: the suites that it takes, its selectors, and the id of the policy that its SAs serve."""

    config: IkeChild
    reqid: int
    suites: tuple[EspSuite, ...]
    local_ts: tuple[ipaddress.IPv6Network, ...]
    remote_ts: tuple[ipaddress.IPv6Network, ...]

    @property
    def name(self) -> str:
        """The child's name."""
        return self.config.name

    @property
    def life_time(self) -> int:
        """Seconds after which its SAs end; 0 is never."""
        return life_time(self.config.rekey_time, self.config.life_time)


@dataclasses.dataclass(frozen=True, repr=False)
class Profile:
    """A connection; no text that it is turned into shows its secret."""

    config: IkeConnection
    secret: bytes
    local: ipaddress.IPv6Address
    remote: ipaddress.IPv6Address
    local_id: Identification
    remote_id: Identification
    suites: tuple[IkeSuite, ...]
    children: tuple[ChildProfile, ...]

    @property
    def name(self) -> str:
        """The connection's name."""
        return self.config.name

    @property
    def peer(self) -> str:
        """The partner's address."""
        return str(self.remote)

    @property
    def life_time(self) -> int:
        """Seconds after which its ISAKMP SAs end; 0 is never."""
        return life_time(self.config.rekey_time)


def _prefix(text: str) -> ipaddress.IPv6Network:
    try:
        return ipaddress.IPv6Network(text)
    except ValueError as error:
        raise ValueError(
            f"traffic selector {text!r}: the IKEv1 endpoint carries IPv6 alone: {error}"
        ) from None


def _end(text: str) -> ipaddress.IPv6Address:
    try:
        return ipaddress.IPv6Address(text)
    except ValueError as error:
        raise ValueError(f"address {text!r}: the IKEv1 endpoint carries IPv6 alone: {error}") from None


def profile(config: IkeConnection, reqids: dict[str, int]) -> Profile:
    """The profile of a connection.

    Args:
        config: checked by its own type.
        reqids: of its children, by name.

    Raises:
        ValueError: it asks for something that the endpoint does not have; the text says what.
    """
    assert isinstance(config.auth, Psk)
    return Profile(
        config=config,
        secret=config.auth.secret.encode(),
        local=_end(config.local.address),
        remote=_end(config.remote.address),
        local_id=identity(config.local.identity),
        remote_id=identity(config.remote.identity),
        suites=tuple(dict.fromkeys(ike_suite(words) for words in config.ike_proposals)),
        children=tuple(
            ChildProfile(
                config=child,
                reqid=reqids[child.name],
                suites=tuple(
                    dict.fromkeys(
                        suite for words in child.esp_proposals for suite in esp_suites(words, child.pfs)
                    )
                ),
                local_ts=tuple(_prefix(one) for one in child.local_ts),
                remote_ts=tuple(_prefix(one) for one in child.remote_ts),
            )
            for child in config.children
        ),
    )
