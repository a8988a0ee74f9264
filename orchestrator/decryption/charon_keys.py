"""Reads the keys of SAs from the log that charon writes with ``ike = 4`` and ``chd = 4``. Text in, keys out.

What it says, as strongSwan 5.9 does: dumps of the form ``NAME => 20 bytes @ 0x…`` with rows of hexadecimal
digits after them, each line under its IKE SA, ``<tunnel|1>``. The dumps do not name the SPIs; these are taken
from what stands around them:

- of an IKE SA: the two SPIs, or cookies, begin what NAT detection hashes (``natd_chunk``: RFC 7296, section
  2.23, and RFC 3947, section 3.2); the algorithms stand in ``selected proposal``.
- of a CHILD_SA by IKEv1: what its keys are made from says the SPI (``initiator SA seed``: RFC 2409, section
  5.5).
- of a CHILD_SA by IKEv2: ``adding inbound ESP SA`` and ``outbound`` after the keys; who initiated the
  exchange had said ``establishing CHILD_SA`` (RFC 7296, section 2.17: the initiator's keys come first).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

_LINE = re.compile(r"^\S+ \d+\[(?P<group>[A-Z]{3})\] (?:<(?P<sa>[^>]*)> )?(?P<text>.*)$")
_DUMP = re.compile(r"^(?P<name>.+?) => (?P<size>\d+) bytes @ 0x[0-9a-f]+$")
_ROW = re.compile(r"^ *\d+: (?P<octets>(?:[0-9A-F]{2} ){1,16})")
_PROPOSAL = re.compile(r"^selected proposal: (?P<protocol>IKE|ESP):(?P<algorithms>\S+)$")
_ESTABLISHING = re.compile(r"^establishing CHILD_SA \S+\{(\d+)\}")
_INSTALLING = re.compile(r"^CHILD_SA \S+\{(\d+)\} state change: CREATED => INSTALLING$")
_DIRECTION = re.compile(r"^(?:adding|registering) (inbound|outbound) ESP SA$")
_ESP = re.compile(r"^ *SPI 0x(?P<spi>[0-9a-f]{8}), src (?P<source>\S+) dst (?P<destination>\S+)$")
_REKEYED = re.compile(r"^IKE_SA \S+\[(\d+)\] rekeyed between ")
_SEED_PROTOCOL = 3
"""The protocol id of ESP in the seed of IKEv1's keys."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IkeKeys:
    """The keys of an IKE SA.

    Attributes:
        version: 1 or 2.
        initiator_spi: 8 octets; IKEv1's cookie. Likewise ``responder_spi``.
        encryption: charon's name of the algorithm, such as ``AES_GCM_16_128``.
        integrity: likewise; empty with an AEAD.
        initiator_key: SK_ei, with its salt for an AEAD; for IKEv1 the one key that there is.
        responder_key: SK_er; empty for IKEv1, likewise the next two.
        initiator_integrity: SK_ai; empty with an AEAD.
        responder_integrity: SK_ar; likewise.
    """

    version: int
    initiator_spi: bytes
    responder_spi: bytes
    encryption: str
    integrity: str
    initiator_key: bytes
    responder_key: bytes = b""
    initiator_integrity: bytes = b""
    responder_integrity: bytes = b""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EspKeys:
    """The keys of one direction of a CHILD_SA; ``encryption`` and ``integrity`` as in :class:`IkeKeys`."""

    spi: str
    source: str
    destination: str
    encryption: str
    integrity: str
    key: bytes
    integrity_key: bytes = b""


@dataclasses.dataclass
class _Sa:
    """What the log has said so far under one IKE SA."""

    spis: bytes = b""
    known: bool = False
    initiated: set[str] = dataclasses.field(default_factory=set)
    child: str = ""
    direction: str = ""
    dumps: dict[str, bytes] = dataclasses.field(default_factory=dict)


def read_keys(log: str, rekeyed: Iterable[tuple[str, bytes, bytes]] = ()) -> Iterator[IkeKeys | EspKeys]:
    """The keys that a log tells of, in its order.

    Args:
        log: the whole text; a last line that is cut short is passed over.
        rekeyed: IKE SAs that replaced others, whose SPIs the log does not say: charon's number for each, and
            the initiator's and the responder's SPI.
    """
    reader = _Reader({number: initiator + responder for number, initiator, responder in rekeyed})
    for number, text, octets in _statements(log):
        if octets is None:
            yield from reader.line(number, text)
        else:
            yield from reader.dump(number, text, octets)


class _Reader:
    """Puts together what belongs together. ``rekeyed`` are the SPIs of IKE SAs by charon's number."""

    def __init__(self, rekeyed: Mapping[str, bytes]) -> None:
        self._rekeyed = rekeyed
        self._sas: dict[str, _Sa] = {}
        self._proposals: dict[str, str] = {}

    def _sa(self, number: str) -> _Sa:
        return self._sas.setdefault(number, _Sa(spis=self._rekeyed.get(number, b"")))

    def line(self, number: str, text: str) -> Iterator[IkeKeys | EspKeys]:
        """Take a line that is no dump."""
        sa = self._sa(number)
        if found := _PROPOSAL.match(text):
            self._proposals[found["protocol"]] = found["algorithms"]
        elif found := _ESTABLISHING.match(text):
            sa.initiated.add(found[1])
        elif found := _INSTALLING.match(text):
            sa.child = found[1]
            sa.dumps.clear()
        elif found := _DIRECTION.match(text):
            sa.direction = found[1]
        elif found := _ESP.match(text):
            yield from self._esp(sa, **found.groupdict())
        elif (found := _REKEYED.match(text)) and not self._sa(found[1]).known:
            # whoever asks for it derives the new SA's keys under the old one
            new = self._sa(found[1])
            new.dumps = dict(sa.dumps)
            yield from self._ike(new)

    def dump(self, number: str, name: str, octets: bytes) -> Iterator[IkeKeys | EspKeys]:
        """Take a dump."""
        sa = self._sa(number)
        if name == "natd_chunk":
            if any(octets[8:16]) and not sa.known:
                sa.spis = octets[:16]
                yield from self._ike(sa)
            return
        if name == "SKEYSEED":
            sa.dumps.clear()
        sa.dumps[name] = octets
        if name in ("initial IV", "Sk_pr secret") and not sa.known:
            yield from self._ike(sa)

    def _ike(self, sa: _Sa) -> Iterator[IkeKeys]:
        """The keys of an IKE SA, once they and its SPIs are there."""
        only = sa.dumps.get("encryption key Ka", b"")
        initiator, responder, *integrity = (
            sa.dumps.get(f"Sk_{name} secret", b"") for name in ("ei", "er", "ai", "ar")
        )
        if not sa.spis or not (only or (initiator and responder)):
            return
        sa.known = True
        algorithms = _algorithms(self._proposals.get("IKE", ""))
        yield IkeKeys(
            version=1 if only else 2,
            initiator_spi=sa.spis[:8],
            responder_spi=sa.spis[8:],
            encryption=algorithms[0],
            integrity=algorithms[1],
            initiator_key=only or initiator,
            responder_key=responder,
            initiator_integrity=integrity[0],
            responder_integrity=integrity[1],
        )

    def _esp(self, sa: _Sa, spi: str, source: str, destination: str) -> Iterator[EspKeys]:
        """The keys of one direction, whose SPI has just been told."""
        side = _side(sa, spi)
        key = sa.dumps.get(f"encryption {side} key")
        if not key:
            return
        encryption, integrity = _algorithms(self._proposals.get("ESP", ""))
        yield EspKeys(
            spi=spi,
            source=source,
            destination=destination,
            encryption=encryption,
            integrity=integrity,
            key=key,
            integrity_key=sa.dumps.get(f"integrity {side} key", b""),
        )


def _statements(log: str) -> Iterator[tuple[str, str, bytes | None]]:
    """Each statement: its IKE SA's number and its text; of a dump, the name as text, and the octets."""
    pending: tuple[str, str, int] | None = None
    octets = bytearray()
    for line in log.splitlines():
        parsed = _LINE.match(line)
        if parsed is None:
            continue
        sa, text = (parsed["sa"] or "").rpartition("|")[2], parsed["text"]
        if pending is not None and sa == pending[0] and (row := _ROW.match(text)):
            octets += bytes.fromhex(row["octets"])
            if len(octets) >= pending[2]:
                yield pending[0], pending[1], bytes(octets[: pending[2]])
                pending = None
        elif dump := _DUMP.match(text):
            pending, octets = (sa, dump["name"], int(dump["size"])), bytearray()
        else:
            yield sa, text, None


def _algorithms(proposal: str) -> tuple[str, str]:
    """Encryption and integrity of a proposal; an AEAD has no integrity algorithm of its own."""
    names = proposal.split("/")
    encryption = names[0] if names else ""
    if "_GCM_" in encryption or "_CCM_" in encryption or "CHACHA20" in encryption:
        return encryption, ""
    return encryption, names[1] if len(names) > 1 else ""


def _side(sa: _Sa, spi: str) -> str:
    """Whose key goes with the SPI, that is, who of the exchange's two ends sends under it."""
    secret = len(sa.dumps.get("DH secret", b""))
    for side in ("initiator", "responder"):
        seed = sa.dumps.get(f"{side} SA seed")
        if seed is not None and seed[secret : secret + 5] == bytes([_SEED_PROTOCOL]) + bytes.fromhex(spi):
            return side
    initiated = sa.child in sa.initiated
    return "initiator" if initiated == (sa.direction == "outbound") else "responder"
