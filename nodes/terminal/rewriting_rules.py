"""The table that rewrites packets: chains and rules; what its maps hold is :mod:`.rewriting`. No I/O.

Keys and data lie in the same registers. What is in a map is rewritten and done with: for a stream as fast as
it goes each further rule shows. Only a packet that is in none comes to what follows. From and to ``retired``
addresses nothing else comes in from the wire or goes out; nothing goes out to ``gone`` ones, the retired
addresses of partners. ``sent`` and ``received`` learn the UDP flows and ICMPv6 echoes with ``partners``, of
which no socket list has all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nodes.terminal import nf_expressions as nf
from nodes.terminal.actions import ICMPV6, TCP, UDP
from nodes.terminal.nf_expressions import Base, Compare, Meta, Verdict
from nodes.terminal.nf_tables import (
    Message,
    SetFlag,
    delete_chain,
    delete_table,
    new_base_chain,
    new_chain,
    new_rule,
    new_set,
    new_table,
)
from nodes.terminal.rewriting import (
    CLOSED,
    DATA,
    ERROR_IN,
    ERROR_OUT,
    IN,
    IN_PORTED,
    KEY,
    MAPS,
    OUT,
    OUT_LABELLED,
    OUT_PORTED,
    TABLE,
)
from nodes.terminal.rewriting_errors import rewritten_errors
from nodes.terminal.rewriting_keys import (
    ADDRESSES,
    LABEL,
    PORTS,
    PROTOCOL,
    SEGMENT_KEYS,
    SPARE,
    echo_key,
    flow_key,
    of_protocol,
)
from nodes.terminal.silence import skipped

BEFORE_TRACKING, AFTER_TRACKING = -310, -190
"""Priorities: connection tracking (-200) knows a flow by its socket's addresses, whichever the wire carries.

The first is after reassembly (-400).
"""
PREROUTING, OUTPUT = 0, 3
INCOMING, OUTGOING = "incoming", "outgoing"
LEARNING_IN, STAYING = "learning_in", "staying"
RETIRED = "retired"
REASSEMBLY = "reassembly"
GONE = "gone"
GONE_TIMEOUT_MS = 60_000
PARTNERS = "partners"
"""The /64 prefixes in which partners are."""
PREFIX = 8
"""Octets of a prefix."""
MOST_REWRITTEN = 32768
"""Elements of a map at most: of a size that it knows, the kernel makes a faster table."""
SENT, RECEIVED = LEARNED = ("sent", "received")
MOST_LEARNED = 4096
"""Flows that are learned at most, each way; more of them keep their addresses."""
UDP_TIMEOUT_MS = 600_000
"""A flow without a connection is over when its socket is closed, or after this time without a packet."""
ECHO_TIMEOUT_MS = 20_000
LOOPBACK_INDEX = 1
MESSAGE_MARK = 0x1BEE
"""The mark of the terminals' own messages, which go from and to any address."""


def table() -> list[Message]:
    """The table anew, empty; one that is there goes, in the same moment."""
    messages = [new_table(TABLE), delete_table(TABLE), new_table(TABLE)]
    messages += [new_set(TABLE, name, key=KEY, data=DATA, size=MOST_REWRITTEN) for name in MAPS]
    messages += [new_set(TABLE, CLOSED, key=KEY), new_set(TABLE, RETIRED, key=16)]
    messages += [
        new_set(TABLE, GONE, key=16, timeout_ms=GONE_TIMEOUT_MS),
        new_set(TABLE, PARTNERS, key=PREFIX),
    ]
    messages += [
        new_set(TABLE, name, key=KEY, flags=SetFlag.DYNAMIC, size=MOST_LEARNED, timeout_ms=UDP_TIMEOUT_MS)
        for name in LEARNED
    ]
    messages += _chain(new_chain(TABLE, LEARNING_IN), LEARNING_IN, _learning(RECEIVED, partner_at=8))
    messages += _chain(new_chain(TABLE, STAYING), STAYING, _staying())
    incoming = new_base_chain(TABLE, INCOMING, type_="filter", hook=PREROUTING, priority=BEFORE_TRACKING)
    return [*messages, *_chain(incoming, INCOMING, _incoming()), *_outgoing_chain("filter")]


def rerouting() -> list[Message]:
    """From now on the kernel looks for another route once a packet has its addresses of the wire."""
    return [delete_chain(TABLE, OUTGOING), *_outgoing_chain("route")]


def _outgoing_chain(type_: str) -> list[Message]:
    chain = new_base_chain(TABLE, OUTGOING, type_=type_, hook=OUTPUT, priority=AFTER_TRACKING)
    return _chain(chain, OUTGOING, _outgoing())


def _chain(new: Message, name: str, rules: Iterable[Sequence[bytes]]) -> list[Message]:
    return [new, *(new_rule(TABLE, name, rule) for rule in rules)]


def reassembly() -> list[Message]:
    """A chain, anew, that nothing calls, for whose rule the kernel reassembles fragments before the table.

    A later fragment has no ports, so it would keep the addresses of the wire. Connection tracking would
    reassemble too, but look at every packet of the node; a rule for a transparent proxy does not.
    """
    never = [
        nf.meta(Meta.TRANSPORT_PROTOCOL, 1),
        nf.compare(1, Compare.EQUAL, bytes([UDP])),
        nf.load(Base.TRANSPORT, 2, 2, 2),
        nf.proxied(2),
    ]
    chain = new_chain(TABLE, REASSEMBLY)
    return [chain, delete_chain(TABLE, REASSEMBLY), chain, new_rule(TABLE, REASSEMBLY, never)]


def removed() -> list[Message]:
    """No table any more; there may be none."""
    return [new_table(TABLE), delete_table(TABLE)]


def _incoming() -> Iterable[Sequence[bytes]]:
    for segment in SEGMENT_KEYS:
        for name in (IN, IN_PORTED):
            yield [*segment, *_rewritten(name), nf.verdict(Verdict.ACCEPT)]
    for name in (IN, IN_PORTED):
        yield [*flow_key(UDP), *_rewritten(name), nf.go_to(LEARNING_IN)]
    yield _if_so(Meta.INPUT_INTERFACE, LOOPBACK_INDEX)
    yield [*skipped(), nf.verdict(Verdict.ACCEPT)]
    for offset in (8, 24):
        yield [nf.load(Base.NETWORK, offset, 16, 0), nf.contained(RETIRED, 0), nf.verdict(Verdict.DROP)]
    for protocol in (TCP, UDP):
        yield [*flow_key(protocol), nf.contained(CLOSED, ADDRESSES), nf.verdict(Verdict.DROP)]
    yield [*of_protocol(TCP, PROTOCOL), nf.verdict(Verdict.ACCEPT)]
    yield [*of_protocol(UDP, PROTOCOL), nf.go_to(LEARNING_IN)]
    yield [*echo_key(), nf.contained(CLOSED, ADDRESSES), nf.verdict(Verdict.DROP)]
    for name in (IN, IN_PORTED):
        yield [*_rewritten_echo(name), nf.go_to(LEARNING_IN)]
    for error in rewritten_errors(ERROR_IN):
        yield [*error, nf.verdict(Verdict.ACCEPT)]
    yield [*of_protocol(ICMPV6, PROTOCOL), nf.go_to(LEARNING_IN)]


def _outgoing() -> Iterable[Sequence[bytes]]:
    for segment in SEGMENT_KEYS:
        yield from _sent([*segment, *_rewritten(name)] for name in _SENT_BY)
    yield _if_so(Meta.OUTPUT_INTERFACE, LOOPBACK_INDEX)
    yield _if_so(Meta.MARK, MESSAGE_MARK)
    yield [*of_protocol(TCP, PROTOCOL), nf.go_to(STAYING)]
    yield from _learning(SENT, partner_at=24)
    yield from _sent([*flow_key(UDP), *_rewritten(name)] for name in _SENT_BY)
    yield from _sent(_rewritten_echo(name) for name in _SENT_BY)
    for error in rewritten_errors(ERROR_OUT):
        # The error comes from the address that the quoted packet went to, and goes to where that came from.
        addressed = [
            nf.store(Base.NETWORK, 8, 16, ADDRESSES + 4),
            nf.store(Base.NETWORK, 24, 16, ADDRESSES),
        ]
        yield [*error, *addressed, nf.verdict(Verdict.ACCEPT)]
    yield [nf.go_to(STAYING)]


def _staying() -> Iterable[Sequence[bytes]]:
    """What goes out as it is."""
    yield [nf.load(Base.NETWORK, 8, 16, 0), nf.contained(RETIRED, 0), nf.verdict(Verdict.DROP)]
    yield [nf.load(Base.NETWORK, 24, 16, 0), nf.contained(GONE, 0), nf.verdict(Verdict.DROP)]


def _if_so(what: Meta, number: int) -> list[bytes]:
    """Accept packets of which this holds as they are."""
    value = nf.number_in_host_order(number)
    return [nf.meta(what, 0), nf.compare(0, Compare.EQUAL, value), nf.verdict(Verdict.ACCEPT)]


_FLOW_LABEL = (
    nf.store(Base.NETWORK, 2, 2, LABEL, checksum=False),
    nf.load(Base.NETWORK, 1, 1, SPARE),
    nf.mask(SPARE, SPARE, b"\xf0"),  # the label's upper four bits; the others are the traffic class's
    nf.store(Base.NETWORK, 1, 1, SPARE, checksum=False),
)


_SENT_BY = (OUT, OUT_PORTED, OUT_LABELLED)
_WITHOUT_PORTS = (IN, OUT)


def _sent(rewritten: Iterable[list[bytes]]) -> Iterable[Sequence[bytes]]:
    """Rules of the maps for what is sent, in their order."""
    for name, rule in zip(_SENT_BY, rewritten, strict=True):
        yield [*rule, *(_FLOW_LABEL if name == OUT_LABELLED else ()), nf.verdict(Verdict.ACCEPT)]


def _rewritten(name: str) -> list[bytes]:
    ports = [] if name in _WITHOUT_PORTS else [nf.store(Base.TRANSPORT, 0, 4, PORTS)]
    return [*_readdressed(name), *ports]


def _rewritten_echo(name: str) -> list[bytes]:
    identifier = [] if name in _WITHOUT_PORTS else [nf.store(Base.TRANSPORT, 4, 2, PORTS)]
    return [*echo_key(), *_readdressed(name), *identifier]


def _readdressed(name: str) -> list[bytes]:
    return [nf.mapped(name, ADDRESSES, ADDRESSES), nf.store(Base.NETWORK, 8, 32, ADDRESSES)]


def _learning(name: str, *, partner_at: int) -> Iterable[Sequence[bytes]]:
    """Keys of packets as sockets know them: before the rewriting on the way out, behind it on the way in."""
    partner = [nf.load(Base.NETWORK, partner_at, PREFIX, SPARE), nf.contained(PARTNERS, SPARE)]
    yield [*flow_key(UDP), *partner, nf.learned(name, ADDRESSES)]
    yield [*echo_key(), *partner, nf.learned(name, ADDRESSES, timeout_ms=ECHO_TIMEOUT_MS)]
