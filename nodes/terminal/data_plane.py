"""The table in the kernel, kept at what is wanted. It outlives the program, and the next one takes it up.

Every change is one transaction of few elements. One that the kernel refuses may mean that the table is not
what it was taken for: then it is read, and brought to what is wanted as a whole.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Iterable, Mapping, Set
from ipaddress import IPv6Address, IPv6Network
from types import TracebackType
from typing import Self

from nodes.terminal import rewriting
from nodes.terminal import rewriting_rules as rules
from nodes.terminal.actions import TCP, Flow, Path, Rewriting
from nodes.terminal.nf_socket import NfSocket, RefusedError
from nodes.terminal.nf_tables import Element, Message, add_elements, delete_elements
from nodes.terminal.rewriting import CLOSED, MAPS, TABLE

_MANY = 4096


class DataPlane:
    """Rewrites the flows' packets.

    Attributes:
        found: there was a table, which a program before this one has left.
        transactions: how many were brought into force.
    """

    def __init__(self) -> None:
        self.found = False
        self.transactions = 0
        self._netlink = NfSocket()
        self._rewritings: dict[Flow, Rewriting] = {}
        self._loose: Set[Flow] = frozenset()
        self._addresses: Set[IPv6Address] = frozenset()
        self._prefixes: set[bytes] = set()
        self._retired: set[bytes] = set()
        self._gone: set[IPv6Address] = set()
        self._neighbours: Set[IPv6Network] = frozenset()
        self._rerouting = False
        self._reassembling = False

    def __enter__(self) -> Self:
        """Find the table, or make it.

        Raises:
            RefusedError: the kernel refused.
        """
        self._netlink.__enter__()
        try:
            self._prefixes = self._keys(rules.PARTNERS)
            self._retired = self._keys(rules.RETIRED)
            self._gone = {IPv6Address(key) for key in self._keys(rules.GONE)}
            self.found = True
        except RefusedError as error:
            if error.number != errno.ENOENT:
                raise
            self._apply(rules.table())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._netlink.close()

    def remove(self) -> None:
        """Take the table away; packets are no longer rewritten."""
        self._apply(rules.removed())

    def take_up(self, rewritings: Iterable[Rewriting]) -> None:
        """Bring the table to this, whatever is in it.

        Raises:
            RefusedError: the kernel refused; the table is as it was.
        """
        self._rewritings = {one.flow: one for one in rewritings if not one.over}
        if any(map(self._takes_another_route, self._rewritings.values())):
            self.reroute()
        self._reassemble(self._rewritings)
        self._mend()

    def rewrite(self, changes: Collection[Rewriting]) -> None:
        """Bring these flows to what is said, in one transaction; the others stay.

        Raises:
            RefusedError: the kernel refused; nothing has changed.
        """
        before = self._rewritings
        after = dict(before)
        flows = []
        for one in changes:
            flows.append(one.flow)
            after[one.flow] = one
            if one.over:
                del after[one.flow]
        if any(self._takes_another_route(one) for one in changes):
            self.reroute()
        self._reassemble(flows)
        present = self._contents(flows)
        self._rewritings = after
        try:
            self._change(present, self._contents(flows))
        except RefusedError:
            self._rewritings = before
            raise
        self._back_again({path.remote.address for flow in flows for path in self._paths(flow)})

    def out(self, flow: Flow) -> Path | None:
        """What the packets of a flow bear on the wire; None where they are not rewritten."""
        one = self._rewritings.get(flow)
        return None if one is None else one.out

    def choose_from(self, loose: Set[Flow], addresses: Set[IPv6Address]) -> None:
        """For the packets of these flows the kernel may choose any of these addresses; rewrite them alike.

        Raises:
            RefusedError: the kernel refused; nothing has changed.
        """
        if (loose, addresses) == (self._loose, self._addresses):
            return
        before = self._loose, self._addresses
        flows = self._loose | loose
        self._reassemble(flows)
        present = self._contents(flows)
        self._loose, self._addresses = loose, addresses
        try:
            self._change(present, self._contents(flows))
        except RefusedError:
            self._loose, self._addresses = before
            raise

    def neighbours_in(self, prefixes: Iterable[IPv6Network]) -> None:
        """Nodes of these prefixes are on the link: packets to each of them take the same route."""
        self._neighbours = frozenset(prefixes)

    def reroute(self) -> None:
        """Let the kernel look for the route of each packet that was rewritten, from now on; idempotent.

        It is a second look for every packet of a stream, and finds what the socket's own route says already
        as long as either all of a flow's remote addresses are on the link, or the remote one is not changed.

        Raises:
            RefusedError: the kernel refused; nothing has changed.
        """
        if not self._rerouting:
            self._apply(rules.rerouting())
            self._rerouting = True

    def learn_from(self, prefixes: Iterable[IPv6Network]) -> None:
        """Learn the flows with addresses in these prefixes, of 64 bits or the 64-bit part of them."""
        wanted = {prefix.network_address.packed[: rules.PREFIX] for prefix in prefixes}
        new, old = wanted - self._prefixes, self._prefixes - wanted
        self._apply(_set_changes(rules.PARTNERS, old, new))
        self._prefixes = wanted

    def retire(self, address: IPv6Address) -> None:
        """Let nothing come in from the wire to this address, and nothing go out that bears it; idempotent."""
        if address.packed not in self._retired:
            self._apply(_set_changes(rules.RETIRED, [], [address.packed]))
            self._retired.add(address.packed)

    def release(self, address: IPv6Address) -> None:
        """The contrary of :meth:`retire`; idempotent."""
        if address.packed in self._retired:
            self._apply(_set_changes(rules.RETIRED, [address.packed], []))
            self._retired.remove(address.packed)

    def avoid(self, address: IPv6Address) -> None:
        """A partner left this address: for a while nothing new goes there."""
        self._apply(add_elements(TABLE, rules.GONE, [Element(address.packed)]))
        self._gone.add(address)
        if len(self._gone) > _MANY:
            self._gone = {IPv6Address(key) for key in self._keys(rules.GONE)}

    def learned(self) -> list[Flow]:
        """The flows with partners that packets were seen of, as sockets know them."""
        found = [rewriting.flow_of(key, local_first=True) for key in self._keys(rules.SENT)]
        return [*found, *(rewriting.flow_of(key, local_first=False) for key in self._keys(rules.RECEIVED))]

    def _takes_another_route(self, one: Rewriting) -> bool:
        own, wire = one.flow.remote.address, one.out.remote.address
        return own != wire and not all(
            any(address in prefix for prefix in self._neighbours) for address in (own, wire)
        )

    def _reassemble(self, flows: Iterable[Flow]) -> None:
        """TCP finds the path's MTU; what else is rewritten may come in fragments.

        A kernel without a transparent proxy does not, and the fragments are not rewritten.
        """
        if self._reassembling or all(flow.protocol == TCP for flow in flows):
            return
        self._reassembling = True
        with contextlib.suppress(RefusedError):
            self._apply(rules.reassembly())

    def _back_again(self, addresses: Set[IPv6Address]) -> None:
        """Partners are at these addresses, perhaps again."""
        for back in addresses & self._gone:
            self._gone.remove(back)
            with contextlib.suppress(RefusedError):  # its time was over
                self._apply(_set_changes(rules.GONE, [back.packed], []))

    def _paths(self, flow: Flow) -> Iterable[Path]:
        one = self._rewritings.get(flow)
        return () if one is None else (one.out, *one.accepted)

    def _contents(self, flows: Iterable[Flow]) -> Mapping[str, Mapping[bytes, bytes]]:
        own = (
            self._rewritings.get(flow) or Rewriting(flow=flow, out=Path(flow.local, flow.remote))
            for flow in set(flows)
        )
        return rewriting.contents(own, dict.fromkeys(self._loose, self._addresses))

    def _change(self, present: rewriting.Contents, wanted: rewriting.Contents) -> None:
        messages = rewriting.difference(present, wanted)
        try:
            self._apply(messages)
        except RefusedError:
            self._mend()

    def _mend(self) -> None:
        wanted = self._contents([*self._rewritings, *self._loose])
        present = {
            name: {one.key: one.data for one in self._netlink.elements(TABLE, name)}
            for name in (*MAPS, CLOSED)
        }
        self._apply(rewriting.difference(present, wanted))

    def _keys(self, name: str) -> set[bytes]:
        return {one.key for one in self._netlink.elements(TABLE, name)}

    def _apply(self, messages: list[Message]) -> None:
        if messages:
            self._netlink.apply(messages)
            self.transactions += 1


def _set_changes(name: str, old: Iterable[bytes], new: Iterable[bytes]) -> list[Message]:
    gone, come = list(old), [Element(key) for key in new]
    return delete_elements(TABLE, name, gone) + add_elements(TABLE, name, come)
