"""The seam between the terminal's core and its I/O: what the core asks for, and what it is told.

The core (:class:`nodes.terminal.core.Terminal`) touches no socket and reads no clock. Every call tells it
something and brings a list of actions. Rules for whoever carries them out:

* in their order, each finished before the next: a mapping stands before the message that relies on it;
* a :class:`Rewrite` is one transaction: all of it or none of it;
* every action is idempotent: it says what is to be, so that it may be repeated after a restart;
* one that cannot be carried out is told to the core (``address_refused`` for :class:`AddAddress`); after a
  :class:`Rewrite` that failed the messages of the same call are not sent, and ``rewrite_failed`` is the
  next call: the core takes the step back;
* the state is written (``snapshot()``) *before* the actions of a call are carried out, so that what was done
  is never ahead of what is known; what it says of them is asked for again after a restart, until
  ``carried_out()`` says that they are done.

Times are nanoseconds of one monotonic clock, durations nanoseconds too.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from ipaddress import IPv6Address
from typing import Any, NamedTuple, Protocol

import msgspec

TCP = 6
UDP = 17
ICMPV6 = 58
"""Protocols of services. The ports of an ICMPv6 echo service are both its identifier."""


class Carriage(StrEnum):
    """How a message travels; its octets are the same."""

    OPTION = "option"
    UDP = "udp"


class Endpoint(NamedTuple):
    """One end of a flow: an address and a port."""

    address: IPv6Address
    port: int


class Path(NamedTuple):
    """Both ends of a flow, from this terminal's point of view."""

    local: Endpoint
    remote: Endpoint


class Flow(NamedTuple):
    """A service as its socket knows it; its addresses and ports never change while it lives."""

    protocol: int
    local: Endpoint
    remote: Endpoint


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A flow that the inventory found, with what a policy may ask about its owner.

    Attributes:
        flow: its socket's protocol, addresses and ports.
        uid: the socket's owner, None where the kernel does not tell.
        process: the name of the process, None where it is not known.
    """

    flow: Flow
    uid: int | None = None
    process: str | None = None


class Rewriting(msgspec.Struct, frozen=True, kw_only=True):
    """What the data plane is to do with one flow: the whole of it, not a difference.

    Attributes:
        flow: the flow as its socket knows it.
        out: what its packets bear on the wire: source ``out.local``, destination ``out.remote``.
        accepted: what packets bear on the wire that are delivered to the socket, destination ``local``,
            source ``remote``; without the flow's own path, which needs no rewriting.
        dropped: the flow's own path is no longer accepted from the wire.
        flow_label: the flow label of its packets (20 bits), None: the kernel's.
    """

    flow: Flow
    out: Path
    accepted: tuple[Path, ...] = ()
    dropped: bool = False
    flow_label: int | None = None

    @property
    def over(self) -> bool:
        """Whether there is nothing to rewrite any more."""
        return (
            self.out == Path(self.flow.local, self.flow.remote)
            and not self.accepted
            and not self.dropped
            and self.flow_label is None
        )


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """Send a message; one that the kernel refuses counts as lost: the core repeats what matters.

    Attributes:
        message: the octets; with :attr:`Carriage.OPTION` they are the data of one option
            (:func:`nodes.terminal.header.destination_options`), with :attr:`Carriage.UDP` the datagram's.
    """

    source: IPv6Address
    destination: IPv6Address
    message: bytes
    carriage: Carriage


class AddAddress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Add an address to the interface; ``address_added`` says when it is no longer tentative.

    Attributes:
        preferred: its lifetimes from now, None: for ever. The kernel counts whole seconds.
    """

    address: IPv6Address
    preferred: int | None = None
    valid: int | None = None


class Deprecate(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The address stays valid, but nothing new begins from it: preferred lifetime 0."""

    address: IPv6Address


class HoldIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Sockets bear this local address: packets to it are the node's own, also when the interface has lost it.

    Asked for before the address's valid lifetime can end, so that packets under way to it still arrive.
    """

    address: IPv6Address


class ReleaseIdentity(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No socket bears this address any more: nothing of it needs to stand, neither route nor drop rule."""

    address: IPv6Address


class KeepAddress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Keep the address valid and deprecated until then (ns of the clock); add it again where it is gone."""

    address: IPv6Address
    until: int


class RetireAddress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The hop is closed: take the address off the interface.

    What still comes to it from the wire is dropped, and so is what would leave with it: sockets that the
    inventory does not show may bear it.
    """

    address: IPv6Address


class RetireRemote(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A partner left this address: remove its neighbour entry."""

    address: IPv6Address


class Rewrite(msgspec.Struct, frozen=True, kw_only=True):
    """Bring the rewriting of these flows to what is said, in one transaction."""

    rewritings: tuple[Rewriting, ...]


class CloseSockets(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """End this flow's socket (SOCK_DESTROY): its address could be kept no longer."""

    flow: Flow


class RefreshFlows(msgspec.Struct, frozen=True):
    """Take the inventory at once, and call ``flows_changed`` also where nothing changed."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Put an event on the stream; ``data`` holds JSON values only."""

    kind: str
    data: dict[str, Any] = {}


Undone = AddAddress | Deprecate | ReleaseIdentity | KeepAddress | RetireAddress | RetireRemote | CloseSockets
"""What nothing else in the state would ask for again after a restart."""

Action = Undone | Send | HoldIdentity | Rewrite | RefreshFlows | Report


class Outcome(StrEnum):
    """What became of a service in a hop."""

    HOPPED = "hopped"
    ENDED_BEFORE = "ended-before"
    NOT_RECOGNISED = "not-recognised"
    REFUSED = "refused"
    NO_ANSWER = "no-answer"


class RefusedAddress(StrEnum):
    """Why an address could not be added."""

    DUPLICATE = "duplicate"
    """Another node has it: duplicate address detection failed."""
    NOT_ON_LINK = "not-on-link"
    """Its prefix is not on the link."""
    ERROR = "error"
    """The kernel refused it for another reason."""


class Unrecognised(IntEnum):
    """The ICMPv6 errors that mean "not recognised", by their type."""

    PORT_UNREACHABLE = 1
    """Type 1, code 4: nobody listens for the UDP carriage."""
    PARAMETER_PROBLEM = 4
    """Type 4, code 2: the option's type is unknown (RFC 4443 §3.4)."""


class Inputs(Protocol):
    """What the I/O tells the core. Each call brings the actions to carry out."""

    def receive(
        self, source: IPv6Address, destination: IPv6Address, message: bytes, carriage: Carriage, now: int
    ) -> list[Action]:
        """A message came, any octets: the data of one option, or a datagram."""

    def unrecognised(self, error: Unrecognised, source: IPv6Address, quoted: bytes, now: int) -> list[Action]:
        """An ICMPv6 error came; ``quoted`` is the packet that it quotes, from its IPv6 header on."""

    def flows_changed(self, began: Sequence[Service], ended: Sequence[Flow], now: int) -> list[Action]:
        """The inventory found services, or no longer finds them."""

    def address_added(
        self, address: IPv6Address, now: int, *, preferred: int | None, valid: int | None, advertised: bool
    ) -> list[Action]:
        """The interface has the address and it is no longer tentative.

        Args:
            address: the address.
            now: the clock.
            preferred: its lifetimes from now, None: for ever.
            valid: likewise.
            advertised: it came from a Router Advertisement, not from :class:`AddAddress`.
        """

    def address_refused(
        self, address: IPv6Address, reason: RefusedAddress, text: str, now: int
    ) -> list[Action]:
        """An :class:`AddAddress` came to nothing, or a tentative address turned out to be a duplicate."""

    def address_deprecated(self, address: IPv6Address, now: int) -> list[Action]:
        """The preferred lifetime ended."""

    def address_expired(self, address: IPv6Address, now: int) -> list[Action]:
        """The valid lifetime ended, or somebody removed the address: the interface no longer has it."""

    def rewrite_failed(self, rewritings: Sequence[Rewriting], text: str, now: int) -> list[Action]:
        """A :class:`Rewrite` came to nothing; the data plane is as it was."""

    def tick(self, now: int) -> list[Action]:
        """The time that :meth:`next_wake` named is there, or any other."""

    def next_wake(self) -> int | None:
        """When :meth:`tick` is to be called, ns of the clock; None: not before something happens."""

    def carried_out(self) -> bool:
        """The actions of the calls before are carried out; whether a state written before says otherwise."""

    def rewritings(self) -> list[Rewriting]:
        """What the data plane should be now, for a start with a table that another agent left."""

    def snapshot(self) -> bytes:
        """The state without secrets; :class:`nodes.terminal.core.Terminal` takes it up again."""
