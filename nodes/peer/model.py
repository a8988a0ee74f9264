"""The values that cross the control channel of a peer: what is asked of charon, and what it answers.

Times are seconds, SPIs are hexadecimal digits as charon and Wireshark write them (8 for ESP, 16 for IKE).
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")]
Seconds = Annotated[int, Meta(ge=0)]
Timeout = Annotated[float, Meta(gt=0, le=3600)]
Pem = Annotated[str, Meta(pattern=r"^-----BEGIN ", max_length=32768)]
Action = Literal["none", "trap", "start"]
Dataplane = Literal["kernel", "userspace"]
"""What carries ESP: the kernel, or charon over TUN."""

IKEV1_PROPOSALS = ("aes128-sha256-ecp256", "aes128-sha256-modp2048")
"""IKEv1 has no AEAD in phase 1."""
IKEV2_PROPOSALS = ("aes128gcm16-prfsha256-ecp256", "aes128-sha256-prfsha256-modp2048")
ESP_PROPOSALS = ("aes128gcm16",)
PFS_GROUP = "ecp256"


class Psk(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="psk", tag_field="type"):
    """Authentication by a pre-shared key, which no text that this value is turned into shows."""

    secret: Annotated[str, Meta(min_length=1, max_length=1024)]

    def __repr__(self) -> str:
        return "Psk(secret=…)"


class Certificate(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cert", tag_field="type"
):
    """Authentication by certificates, PEM: our own with its private key, and the partner's CA."""

    certificate: Pem
    key: Pem
    ca: Pem

    def __repr__(self) -> str:
        return "Certificate(…)"


Auth = Psk | Certificate


class End(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One end of an IKE SA: its address, and its identity (default: the address)."""

    address: str
    id: str | None = None

    def __post_init__(self) -> None:
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            raise ValueError(f"{self.address!r} is no IP address") from None

    @property
    def identity(self) -> str:
        """The IKE identity."""
        return self.address if self.id is None else self.id


class Child(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration of CHILD_SAs (IKEv1: of Quick Modes): an ESP tunnel between traffic selectors.

    ``pfs`` is the group of the Diffie-Hellman exchange that a rekey brings, such as ``ecp256``; None is
    without. ``rekey_time`` 0 never rekeys. ``life_time`` None is charon's 10 % above ``rekey_time``.
    ``rand_time`` is the most by which charon rekeys earlier, at random; 0 keeps a run replayable.
    """

    name: Name
    local_ts: Annotated[tuple[str, ...], Meta(min_length=1)]
    remote_ts: Annotated[tuple[str, ...], Meta(min_length=1)]
    esp_proposals: Annotated[tuple[str, ...], Meta(min_length=1)] = ESP_PROPOSALS
    pfs: Annotated[str, Meta(pattern=r"^[a-z0-9]+\Z")] | None = None
    rekey_time: Seconds = 3600
    life_time: Seconds | None = None
    rand_time: Seconds = 0
    rekey_packets: Annotated[int, Meta(ge=0)] = 0
    start_action: Action = "none"
    close_action: Action = "none"
    dpd_action: Action = "none"

    def __post_init__(self) -> None:
        for selector in (*self.local_ts, *self.remote_ts):
            try:
                ipaddress.ip_network(selector)
            except ValueError as error:
                raise ValueError(f"traffic selector: {error}") from None
        if self.life_time is not None and 0 < self.life_time <= self.rekey_time:
            raise ValueError("life_time must be longer than rekey_time")


class Connection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``peer.load``: a connection to one partner, with its secret.

    ``keyingtries`` 0 tries for ever. ``encap`` forces ESP in UDP, which the userspace data plane does by
    itself. ``rekey_time`` 0 never rekeys the IKE SA; ``dpd_delay`` 0 sends no DPD.
    """

    name: Name
    local: End
    remote: End
    auth: Auth
    children: Annotated[tuple[Child, ...], Meta(min_length=1)]
    version: Literal[1, 2] = 2
    proposals: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    rekey_time: Seconds = 14400
    reauth_time: Seconds = 0
    rand_time: Seconds = 0
    dpd_delay: Seconds = 0
    keyingtries: Annotated[int, Meta(ge=0)] = 1
    mobike: bool = False
    encap: bool = False
    unique: Literal["never", "no", "replace", "keep"] = "no"

    def __post_init__(self) -> None:
        names = [child.name for child in self.children]
        if len(names) != len(set(names)):
            raise ValueError(f"two children of one name: {', '.join(names)}")

    @property
    def ike_proposals(self) -> tuple[str, ...]:
        """The IKE proposals: those asked for, or the version's defaults."""
        if self.proposals is not None:
            return self.proposals
        return IKEV1_PROPOSALS if self.version == 1 else IKEV2_PROPOSALS


class Loaded(Struct, frozen=True, kw_only=True):
    """The result of ``peer.load``: the prefixes whose plaintext the node keeps to itself without an SA."""

    name: str
    guarded: tuple[str, ...]


class Unload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``peer.unload``. SAs that are up stay up: terminate them first."""

    name: Name


class Initiate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``peer.initiate``; ``child`` may be left out where the connection has one only."""

    connection: Name
    child: Name | None = None
    timeout: Timeout = 60.0


class SaSelector(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which SA is meant: a CHILD_SA or an IKE SA, by its configuration's name or by its unique id.

    ``connection`` with ``child`` narrows a child's name to one connection.
    """

    connection: Name | None = None
    child: Name | None = None
    ike_id: Annotated[int, Meta(ge=1)] | None = None
    child_id: Annotated[int, Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        if self.child is not None and (self.child_id is not None or self.ike_id is not None):
            raise ValueError("name a CHILD_SA by child, or by child_id, not by both")
        given = (self.connection, self.child, self.ike_id, self.child_id)
        if all(one is None for one in given):
            raise ValueError("say which SA: connection, child, ike_id or child_id")

    @property
    def of_child(self) -> bool:
        """Whether a CHILD_SA is meant."""
        return self.child is not None or self.child_id is not None


class Rekey(SaSelector, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``peer.rekey``. Where a name fits several SAs, the newest is meant."""

    timeout: Timeout = 60.0


class Terminate(SaSelector, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameter of ``peer.terminate``; ``force`` does not wait for the partner's answer to the DELETE."""

    force: bool = False
    timeout: Timeout = 10.0


class Terminated(Struct, frozen=True, kw_only=True):
    """The result of ``peer.terminate``: how many SAs went."""

    terminated: int


class ChildSa(Struct, frozen=True, kw_only=True):
    """A CHILD_SA as charon tells it; figures are None until it is installed.

    ``effective_by`` is the IKEv1 endpoint's alone: what made it send under the SA.
    """

    name: str
    unique_id: int
    reqid: int
    state: str
    mode: str
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]
    protocol: str | None = None
    encap: bool = False
    spi_in: str | None = None
    spi_out: str | None = None
    encryption: str | None = None
    integrity: str | None = None
    dh_group: str | None = None
    bytes_in: int | None = None
    packets_in: int | None = None
    bytes_out: int | None = None
    packets_out: int | None = None
    rekey_in: int | None = None
    expires_in: int | None = None
    installed_for: int | None = None
    effective_by: str | None = None


class IkeSa(Struct, frozen=True, kw_only=True):
    """An IKE SA as charon tells it, with its CHILD_SAs; algorithms are None until they are agreed."""

    name: str
    unique_id: int
    version: int
    state: str
    initiator: bool
    initiator_spi: str
    responder_spi: str
    local_address: str
    local_port: int
    local_id: str
    remote_address: str
    remote_port: int
    remote_id: str
    encryption: str | None = None
    integrity: str | None = None
    prf: str | None = None
    dh_group: str | None = None
    nat: bool = False
    established_for: int | None = None
    rekey_in: int | None = None
    reauth_in: int | None = None
    tasks: tuple[str, ...] = ()
    children: tuple[ChildSa, ...] = ()


class Initiated(Struct, frozen=True, kw_only=True):
    """The result of ``peer.initiate``: the CHILD_SA that is installed, and its IKE SA without children."""

    ike: IkeSa
    child: ChildSa


class Rekeyed(Struct, frozen=True, kw_only=True):
    """The result of ``peer.rekey``: of the SA that was replaced, and of the one that is in place here.

    For an IKE SA the SPIs are the initiator's and the responder's, for a CHILD_SA in and out.
    """

    kind: Literal["ike", "child"]
    name: str
    old_id: int
    new_id: int
    old_spis: tuple[str, str]
    new_spis: tuple[str, str]


class LoadedConnection(Struct, frozen=True, kw_only=True):
    """A connection as charon lists it; nothing of its secret."""

    name: str
    version: str
    local_addresses: tuple[str, ...]
    remote_addresses: tuple[str, ...]
    local_auth: str | None
    remote_auth: str | None
    children: tuple[str, ...]


class Status(Struct, frozen=True, kw_only=True):
    """The result of ``peer.status``.

    ``dataplane_reason`` says why it is this data plane, ``inner_reason`` why the inner address is on
    this interface. ``ready_ms`` is the time from the start of charon until VICI answered. ``uptime`` is
    in seconds, ``memory`` in octets (resident set).
    """

    version: str
    dataplane: Dataplane
    dataplane_reason: str
    inner_interface: str | None
    inner_reason: str | None
    plugins: tuple[str, ...]
    pid: int
    uptime: float
    ready_ms: float
    memory: int
    ike_sas: int
    half_open: int


class Counters(Struct, frozen=True, kw_only=True):
    """The result of ``peer.counters``: charon's counters of IKE messages and events, by charon's names."""

    counters: dict[str, int]
