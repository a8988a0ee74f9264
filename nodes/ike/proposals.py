"""What is proposed and what is chosen: strongSwan's proposal words, and the transforms of IKEv1. No I/O."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from nodes.esp.sa import GCM_SALT, HMAC_SHA256_KEY
from nodes.ike.crypto.groups import Group
from nodes.ike.messages.attributes import Attribute, LifeType, Phase1, Phase2, lifetime
from nodes.ike.messages.sa_payload import Proposal, Protocol, Transform, transform

_AES_CBC, _SHA2_256, _PSK = 7, 4, 1
_KEY_IKE = 1
_ESP_AES_CBC, _ESP_AES_GCM_16 = 12, 20
_AUTH_HMAC_SHA2_256 = 5
_TUNNEL, _UDP_TUNNEL = 1, 3
_DEFAULT_KEY_BITS = 128
_KEY_BITS = (128, 192, 256)
_RFC2407_LIFE = 28800

_GROUPS = {"ecp256": Group.ECP256, "modp2048": Group.MODP2048}
_CBC_WORD = re.compile(r"aes(128|192|256)?\Z")
_GCM_WORD = re.compile(r"aes(128|192|256)?gcm(16|128)?\Z")

_UNKNOWN = (
    "the IKEv1 endpoint knows aes128, aes192, aes256 and sha256 with ecp256 or modp2048, and for ESP also"
    " aes128gcm16, aes192gcm16, aes256gcm16, esn and noesn"
)


def group_named(name: str) -> Group:
    """The group of this name.

    Raises:
        ValueError: there is none.
    """
    try:
        return _GROUPS[name]
    except KeyError:
        raise ValueError(f"no group {name!r}; there are {', '.join(_GROUPS)}") from None


@dataclasses.dataclass(frozen=True)
class IkeSuite:
    """How an ISAKMP SA protects: AES-CBC of so many bits with HMAC-SHA256, and its group."""

    key_bits: int
    group: Group

    @property
    def key_octets(self) -> int:
        """Octets of the cipher's key."""
        return self.key_bits // 8


@dataclasses.dataclass(frozen=True)
class EspSuite:
    """How an IPsec SA protects; ``group`` is the Quick Mode's own exchange (PFS), or None."""

    encryption: Literal["aes-gcm-16", "aes-cbc"]
    key_bits: int
    group: Group | None = None
    esn: bool = False

    @property
    def encryption_octets(self) -> int:
        """Octets of the cipher's key, without a salt."""
        return self.key_bits // 8

    @property
    def keymat_octets(self) -> int:
        """Octets of key material that one SA takes (RFC 4106, section 8.1; RFC 4868, section 2.6)."""
        return self.encryption_octets + (GCM_SALT if self.encryption == "aes-gcm-16" else HMAC_SHA256_KEY)


def ike_suite(words: str) -> IkeSuite:
    """The suite that a proposal such as ``aes128-sha256-ecp256`` names.

    Raises:
        ValueError: it has a word that we do not know, or lacks one.
    """
    bits: int | None = None
    group: Group | None = None
    hashed = False
    for word in words.split("-"):
        if match := _CBC_WORD.match(word):
            bits = int(match[1] or _DEFAULT_KEY_BITS)
        elif word in ("sha256", "sha2_256", "prfsha256"):
            hashed = True
        elif word in _GROUPS:
            group = _GROUPS[word]
        else:
            raise ValueError(f"IKE proposal {words!r}: {word!r} is unknown: {_UNKNOWN}")
    if bits is None or group is None or not hashed:
        raise ValueError(f"IKE proposal {words!r} needs a cipher, a hash and a group: {_UNKNOWN}")
    return IkeSuite(bits, group)


def esp_suites(words: str, pfs: str | None) -> tuple[EspSuite, ...]:
    """The suites that a proposal such as ``aes128gcm16-esn`` names; with ``esn-noesn`` it names two.

    Raises:
        ValueError: it has a word that we do not know, or lacks one.
    """
    encryption: Literal["aes-gcm-16", "aes-cbc"] | None = None
    bits = _DEFAULT_KEY_BITS
    group = None if pfs is None else group_named(pfs)
    hashed = False
    esn: list[bool] = []
    for word in words.split("-"):
        if match := _GCM_WORD.match(word):
            encryption, bits = "aes-gcm-16", int(match[1] or _DEFAULT_KEY_BITS)
        elif match := _CBC_WORD.match(word):
            encryption, bits = "aes-cbc", int(match[1] or _DEFAULT_KEY_BITS)
        elif word in ("sha256", "sha2_256"):
            hashed = True
        elif word in _GROUPS:
            group = _GROUPS[word]
        elif word in ("esn", "noesn"):
            esn.append(word == "esn")
        else:
            raise ValueError(f"ESP proposal {words!r}: {word!r} is unknown: {_UNKNOWN}")
    if encryption is None or hashed != (encryption == "aes-cbc"):
        raise ValueError(f"ESP proposal {words!r} needs AES-GCM, or AES-CBC with sha256: {_UNKNOWN}")
    return tuple(EspSuite(encryption, bits, group, one) for one in dict.fromkeys(esn or [False]))


def _life(seconds: int, kilobytes: int, phase: type[Phase1] | type[Phase2]) -> list[Attribute]:
    attributes: list[Attribute] = []
    for unit, value in ((LifeType.SECONDS, seconds), (LifeType.KILOBYTES, kilobytes)):
        if value:
            attributes += [(phase.LIFE_TYPE, unit), (phase.LIFE_DURATION, value)]
    return attributes


def ike_proposal(suites: Sequence[IkeSuite], life_time: int) -> Proposal:
    """The one proposal of main mode, a transform for each suite; ``life_time`` in seconds, 0 is none."""
    return Proposal(
        1,
        Protocol.ISAKMP,
        b"",
        tuple(
            transform(number, _KEY_IKE, _ike_attributes(suite, life_time))
            for number, suite in enumerate(suites, 1)
        ),
    )


def _ike_attributes(suite: IkeSuite, life_time: int) -> list[Attribute]:
    return [
        (Phase1.ENCRYPTION, _AES_CBC),
        (Phase1.KEY_LENGTH, suite.key_bits),
        (Phase1.HASH, _SHA2_256),
        (Phase1.GROUP, suite.group),
        (Phase1.AUTHENTICATION, _PSK),
        *_life(life_time, 0, Phase1),
    ]


def esp_proposal(
    suites: Sequence[EspSuite], spi: int, *, life_time: int, life_octets: int, encap: bool
) -> Proposal:
    """The one proposal of Quick Mode, a transform for each suite; 0 is no lifetime."""
    return Proposal(
        1,
        Protocol.ESP,
        spi.to_bytes(4, "big"),
        tuple(
            transform(
                number,
                _ESP_AES_GCM_16 if suite.encryption == "aes-gcm-16" else _ESP_AES_CBC,
                _esp_attributes(suite, encap) + _life(life_time, -(-life_octets // 1000), Phase2),
            )
            for number, suite in enumerate(suites, 1)
        ),
    )


def _esp_attributes(suite: EspSuite, encap: bool) -> list[Attribute]:
    attributes: list[Attribute] = [(Phase2.KEY_LENGTH, suite.key_bits)]
    if suite.encryption == "aes-cbc":
        attributes.append((Phase2.AUTHENTICATION, _AUTH_HMAC_SHA2_256))
    if suite.group is not None:
        attributes.append((Phase2.GROUP, suite.group))
    if suite.esn:
        attributes.append((Phase2.EXTENDED_SEQUENCE_NUMBER, 1))
    return [*attributes, (Phase2.ENCAPSULATION, _UDP_TUNNEL if encap else _TUNNEL)]


@dataclasses.dataclass(frozen=True)
class IkeChoice:
    """A suite, the transform that offers it, and the lifetime in seconds that stands in it."""

    suite: IkeSuite
    proposal: Proposal
    life_time: int | None

    def answer(self) -> Proposal:
        """The proposal as the responder returns it: with the one transform, unchanged (RFC 2408, 4.2)."""
        return self.proposal


@dataclasses.dataclass(frozen=True)
class EspChoice:
    """A suite, the proposal with the one transform that offers it, and what else stands in it."""

    suite: EspSuite
    proposal: Proposal
    spi: int
    encap: bool
    life_time: int
    life_octets: int | None

    def answer(self, spi: int) -> Proposal:
        """The proposal as the responder returns it: the transform unchanged, and the responder's SPI."""
        return self.proposal._replace(spi=spi.to_bytes(4, "big"))


def _single(attributes: Sequence[Attribute], type_: int, default: int | None = None) -> int | None:
    values = [value for one, value in attributes if one == type_]
    return values[-1] if values else default


def _ike_choices(proposals: Sequence[Proposal]) -> Iterator[IkeChoice]:
    for proposal in proposals:
        if proposal.protocol != Protocol.ISAKMP:
            continue
        for one in proposal.transforms:
            suite = _ike_suite_of(one)
            if suite is not None:
                alone = proposal._replace(transforms=(one,), spi=b"")
                yield IkeChoice(suite, alone, lifetime(one.attributes, LifeType.SECONDS, Phase1))


def _ike_suite_of(one: Transform) -> IkeSuite | None:
    attributes = one.attributes
    known = (
        one.id == _KEY_IKE
        and _single(attributes, Phase1.ENCRYPTION) == _AES_CBC
        and _single(attributes, Phase1.HASH) == _SHA2_256
        and _single(attributes, Phase1.AUTHENTICATION) == _PSK
    )
    bits = _single(attributes, Phase1.KEY_LENGTH, _DEFAULT_KEY_BITS)
    group = _single(attributes, Phase1.GROUP)
    if not known or bits not in _KEY_BITS or group not in tuple(Group):
        return None
    return IkeSuite(bits, Group(group))


def choose_ike(proposals: Sequence[Proposal], ours: Sequence[IkeSuite]) -> IkeChoice | None:
    """The first of our suites that a partner offers."""
    offered = list(_ike_choices(proposals))
    return next((choice for suite in ours for choice in offered if choice.suite == suite), None)


def _esp_choices(proposals: Sequence[Proposal]) -> Iterator[EspChoice]:
    numbers = [proposal.number for proposal in proposals]
    for proposal in proposals:
        together = numbers.count(proposal.number) > 1  # ESP with AH or IPComp: not spoken
        if proposal.protocol != Protocol.ESP or together or len(proposal.spi) != 4:
            continue
        for one in proposal.transforms:
            attributes = one.attributes
            suite = _esp_suite_of(one)
            mode = _single(attributes, Phase2.ENCAPSULATION, _TUNNEL)
            if suite is None or mode not in (_TUNNEL, _UDP_TUNNEL):
                continue
            kilobytes = lifetime(attributes, LifeType.KILOBYTES, Phase2)
            yield EspChoice(
                suite=suite,
                proposal=proposal._replace(transforms=(one,)),
                spi=int.from_bytes(proposal.spi, "big"),
                encap=mode == _UDP_TUNNEL,
                life_time=lifetime(attributes, LifeType.SECONDS, Phase2) or _RFC2407_LIFE,
                life_octets=None if not kilobytes else kilobytes * 1000,
            )


def _esp_suite_of(one: Transform) -> EspSuite | None:
    attributes = one.attributes
    bits = _single(attributes, Phase2.KEY_LENGTH, _DEFAULT_KEY_BITS)
    group = _single(attributes, Phase2.GROUP)
    authentication = _single(attributes, Phase2.AUTHENTICATION)
    encryption: Literal["aes-gcm-16", "aes-cbc"]
    match one.id:
        case 20 if authentication is None:
            encryption = "aes-gcm-16"
        case 12 if authentication == _AUTH_HMAC_SHA2_256:
            encryption = "aes-cbc"
        case _:
            return None
    if bits not in _KEY_BITS or (group is not None and group not in tuple(Group)):
        return None
    esn = _single(attributes, Phase2.EXTENDED_SEQUENCE_NUMBER) == 1
    return EspSuite(encryption, bits, None if group is None else Group(group), esn)


def choose_esp(proposals: Sequence[Proposal], ours: Sequence[EspSuite], *, encap: bool) -> EspChoice | None:
    """The first of our suites that a partner offers in the encapsulation that was detected."""
    offered = [choice for choice in _esp_choices(proposals) if choice.encap == encap]
    return next((choice for suite in ours for choice in offered if choice.suite == suite), None)


def split_keymat(suite: EspSuite, material: bytes) -> tuple[bytes, bytes, bytes]:
    """Key material as the cipher's key, its salt, and the integrity key, each empty where there is none."""
    key, rest = material[: suite.encryption_octets], material[suite.encryption_octets :]
    return (key, rest, b"") if suite.encryption == "aes-gcm-16" else (key, b"", rest)
