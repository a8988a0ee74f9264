"""An ISAKMP SA: its cookies, its path, its keys, and how messages are sealed under it. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Literal

from nodes.ike.context import NAT_T_PORT, Context, Path
from nodes.ike.crypto.cipher import CbcChain, phase2_iv
from nodes.ike.crypto.keys import IsakmpKeys, equal, quick_hash_1
from nodes.ike.messages.header import HEADER, NO_COOKIE, ExchangeType, Flags, Header, encode_header
from nodes.ike.messages.malformed import MalformedError, NotifyType
from nodes.ike.messages.payloads import Payload, PayloadType, encode_chain, first_type, parse_chain
from nodes.ike.messages.vendor_id import VendorId
from nodes.ike.misbehaviour import Conduct, Script
from nodes.ike.profile import Profile
from nodes.ike.proposals import IkeSuite

MAX_EXCHANGES = 65536
"""Message IDs that are remembered under an ISAKMP SA; then it takes no further exchange."""


class State(enum.Enum):
    """How far an ISAKMP SA is, in charon's words."""

    CONNECTING = "CONNECTING"
    ESTABLISHED = "ESTABLISHED"
    DELETED = "DELETED"


class IsakmpSa:
    """An ISAKMP SA from its first message to its end.

    Attributes:
        id: unique in this endpoint.
        initiator: whether we initiated it.
        profile: of its connection; the responder may find a better fit when the partner names itself.
        cookies: the initiator's and the responder's.
        established_at: when it came to be, in the clock's seconds.
        last_block: of main mode's last message: phase 2's initialisation vectors come from it.
        seen: the message IDs that were used: none is taken twice.
    """

    def __init__(
        self, context: Context, profile: Profile, script: Script, path: Path, cookies: tuple[bytes, bytes]
    ) -> None:
        self.context = context
        self.id = next(context.ids)
        self.profile = profile
        self.script = script
        self.path = path
        self.cookies = cookies
        self.initiator = cookies[1] == NO_COOKIE
        self.state = State.CONNECTING
        self.created_at = context.now
        self.established_at: float | None = None
        self.last_heard = context.now
        self.suite: IkeSuite | None = None
        self.extensions: frozenset[VendorId] = frozenset()
        self.nat_here = False
        self.nat_there = False
        self.keys: IsakmpKeys | None = None
        self.last_block = b""
        self.seen: set[int] = set()
        self.tasks: tuple[str, ...] = ()

    @property
    def side(self) -> Literal["initiator", "responder"]:
        """Which side of it we are."""
        return "initiator" if self.initiator else "responder"

    @property
    def established(self) -> bool:
        """Whether it is up."""
        return self.state is State.ESTABLISHED

    @property
    def nat(self) -> bool:
        """Whether ESP must go in UDP (RFC 3947, section 4)."""
        return self.nat_here or self.nat_there

    def float_ports(self) -> None:
        """Go on at port 4500 (RFC 3947, section 4)."""
        self.path = self.path._replace(local_port=NAT_T_PORT, remote_port=NAT_T_PORT)

    def speaks(self, extension: VendorId) -> bool:
        """Whether the partner announced an extension."""
        return extension in self.extensions

    def new_message_id(self) -> int:
        """A message ID that was never used under this SA."""
        while True:
            number = int.from_bytes(self.context.random(4), "big")
            if number and number not in self.seen:
                self.seen.add(number)
                return number

    @property
    def exhausted(self) -> bool:
        """Whether it has seen as many exchanges as it may."""
        return len(self.seen) >= MAX_EXCHANGES

    def chain(self, message_id: int) -> CbcChain:
        """The encryption of a new exchange under this SA."""
        assert self.keys is not None
        return CbcChain(self.keys.cipher, phase2_iv(self.last_block, message_id))

    def message(
        self,
        exchange: ExchangeType,
        message_id: int,
        payloads: Sequence[Payload],
        chain: CbcChain | None = None,
        conduct: Conduct | None = None,
        number: int = 1,
    ) -> bytes:
        """A message of this SA, encrypted where there is a chain; ``number`` counts it in its exchange."""
        body = encode_chain(payloads)
        if conduct is not None:
            body = conduct.payloads(body, number)
        flags = Flags(0)
        if chain is not None:
            body, flags = chain.encrypt(body), Flags.ENCRYPTION
        header = Header(*self.cookies, first_type(payloads), exchange, flags, message_id)
        datagram = encode_header(header, len(body)) + body
        return datagram if conduct is None else conduct.datagram(datagram, number)

    def transmit(self, datagram: bytes) -> None:
        """Send a message on the path that this SA has now."""
        self.context.send(self.path, datagram)

    def inform(self, *payloads: Payload) -> None:
        """Send an informational message, authenticated and encrypted; nobody answers it (RFC 2409, 5.7)."""
        assert self.keys is not None
        message_id = self.new_message_id()
        digest = quick_hash_1(self.keys, message_id, encode_chain(payloads))
        sealed = (Payload(PayloadType.HASH, digest), *payloads)
        conduct = self.script.begin("informational")
        chain = self.chain(message_id)
        self.transmit(self.message(ExchangeType.INFORMATIONAL, message_id, sealed, chain, conduct))

    def unseal(self, header: Header, datagram: bytes, chain: CbcChain) -> tuple[Payload, ...]:
        """The payloads of an encrypted message, of which nothing is proved yet.

        Raises:
            MalformedError: it is not encrypted, or what comes of its decryption is no message.
        """
        if not header.encrypted:
            raise MalformedError("in the clear under an ISAKMP SA", NotifyType.INVALID_FLAGS)
        return parse_chain(header.next_payload, chain.decrypt(datagram[HEADER:]), padded=True)


def hashed_rest(payloads: Sequence[Payload]) -> tuple[bytes, bytes]:
    """The hash that a message of phase 2 begins with, and the octets behind it, without padding.

    Raises:
        MalformedError: it does not begin with a hash.
    """
    if not payloads or payloads[0].type is not PayloadType.HASH:
        raise MalformedError("a message of phase 2 that does not begin with a hash")
    return payloads[0].body, encode_chain(payloads[1:])


def require_hash(received: bytes, computed: bytes) -> None:
    """Compare hashes.

    Raises:
        MalformedError: they differ: the message is not the partner's.
    """
    if not equal(received, computed):
        raise MalformedError("a hash that is not the partner's", NotifyType.INVALID_HASH_INFORMATION)
