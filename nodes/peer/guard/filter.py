"""What the guard tells the kernel's filter, as nft's words. No I/O.

Only IKE is touched: port 500, and of port 4500 what has the non-ESP marker (RFC 3948 §2.2); ESP always
passes. Of IKE these pass always:

* the IKE SAs that carry a tunnel, by the initiator's SPI (in IKEv1 cookie), the first field of their header;
* while only the receiver is inactive, the negotiations that this node began itself: the kernel notes the SPI
  of each first message that goes out, in the packet's own path, so that no answer comes too early.

The abnormal-information messages that come in are the guard's alone, which sees them before this filter does.
While a partner does not answer a negotiation that this node began, no other one is begun with it: charon's
next try follows its last in the same moment, too soon for whoever hears of it. Towards an inactive partner a
new negotiation is refused at once (the sets ``closed``), the rest a moment later (``inactive``), so that
charon's own notify gets out. Every element ends with its time by itself. The table belongs to the guard's
netlink socket (``flags owner``) and goes when that does.
"""

from __future__ import annotations

from collections.abc import Iterable

from nodes.abnormality.machine import Side
from nodes.abnormality.message import MAGIC, NOTIFY_TYPES

TABLE = "hopbed_abnormality"
MOST = 4096
"""Elements of a set; more than there can be partners that are remembered."""
MARK = 0x2BED
"""The mark of the guard's own messages, which pass."""
NEGOTIATION = 600
"""Seconds for which the kernel remembers a negotiation that this node began."""
STRANGERS_RATE, STRANGERS_BURST = 20, 100
"""First messages, in a second and at once, that charon gets to see from addresses that are no partners,
for each version of IKE: a flood of one does not hold back who speaks the other."""
LONGEST_MS = 86_400_000
HELD_BACK_MS = 300_000
"""For how long at most no other negotiation is begun beside one that the partner does not answer."""

_IPV6_ORDER = 300
"""Behind the fault engine's look at what comes in (-310), before the one at what goes out (310)."""


def table() -> str:
    """The table, empty: it lets everything pass but floods of first messages from strangers."""
    sets = "".join(_address_set(kind, side) for kind in ("closed", "inactive") for side in Side)
    return f"""\
table ip6 {TABLE} {{
    flags owner
    set partners {{ type ipv6_addr; size {MOST}; }}
    {sets}
    set carrying {{ typeof @th,64,64; size {MOST}; }}
    set own {{ typeof @th,64,64; flags dynamic,timeout; timeout {NEGOTIATION}s; size {MOST}; }}
    {_chains("ike", 0)}
    {_chains("nat_t", 32)}
    chain incoming {{
        type filter hook input priority -{_IPV6_ORDER}; policy accept;
        udp dport 500 jump ike_in
        udp dport 4500 @th,64,32 0 jump nat_t_in
    }}
    chain outgoing {{
        type filter hook output priority {_IPV6_ORDER}; policy accept;
        meta mark {MARK:#x} accept
        udp sport 500 jump ike_out
        udp sport 4500 @th,64,32 0 jump nat_t_out
    }}
}}
"""


def _address_set(kind: str, side: Side) -> str:
    return f"set {kind}_{side} {{ type ipv6_addr; flags timeout; size {MOST}; }}\n    "


def _chains(name: str, shift: int) -> str:
    """The chains for IKE whose header begins ``shift`` bits behind the UDP header.

    A first message has no responder's SPI yet, is of main mode, aggressive mode or IKE_SA_INIT, and no
    response.
    """
    spi, no_responder = f"@th,{64 + shift},64", f"@th,{128 + shift},64 0"
    first_v1, first_v2, first = (
        f"{no_responder} @th,{208 + shift},8 {{ {exchanges} }} @th,{216 + shift},8 & 0x20 == 0"
        for exchanges in ("2, 4", "34", "2, 4, 34")
    )
    ours = [
        f"@th,{208 + shift},8 {exchange} @th,{at + shift},16 {NOTIFY_TYPES[version]:#x} "
        f"@th,{magic + shift},64 0x{MAGIC.hex()} drop"
        for version, exchange, at, magic in ((1, 5, 368, 512), (2, 37, 336, 352))
    ]
    strangers = f"limit rate over {STRANGERS_RATE}/second burst {STRANGERS_BURST} packets counter"
    return f"""\
chain {name}_in {{
        {ours[0]}
        {ours[1]}
        {spi} @carrying accept
        {spi} @own ip6 saddr @inactive_{Side.SENDER} counter drop
        {spi} @own accept
        {first} ip6 saddr @closed_{Side.RECEIVER} counter drop
        ip6 saddr @inactive_{Side.RECEIVER} counter drop
        {first_v1} ip6 saddr != @partners {strangers} drop
        {first_v2} ip6 saddr != @partners {strangers} drop
    }}
    chain {name}_out {{
        {spi} @carrying accept
        {spi} @own ip6 daddr @inactive_{Side.SENDER} counter drop
        {spi} @own accept
        {first} ip6 daddr @closed_{Side.SENDER} counter drop
        {first} update @own {{ {spi} }} accept
        ip6 daddr @inactive_{Side.RECEIVER} counter drop
    }}"""


def shut(kind: str, side: Side, partner: str, milliseconds: int) -> str:
    """Put a partner into ``closed`` or ``inactive`` for a time; one that is there begins anew."""
    name = f"{kind}_{side}"
    element = f"{partner} timeout {max(1, min(milliseconds, LONGEST_MS))}ms"
    return _add(name, f"{partner} timeout 1s") + _delete(name, partner) + _add(name, element)


def open_(side: Side, partner: str) -> str:
    """Let a partner through again."""
    return "".join(
        _add(f"{kind}_{side}", f"{partner} timeout 1s") + _delete(f"{kind}_{side}", partner)
        for kind in ("closed", "inactive")
    )


def carry(spis: Iterable[str]) -> str:
    """Let exactly these IKE SAs pass, whatever comes; SPIs are 16 hexadecimal digits."""
    return _exactly("carrying", [f"0x{spi}" for spi in spis])


def know(partners: Iterable[str]) -> str:
    """Take exactly these addresses for partners."""
    return _exactly("partners", list(partners))


def began(spis: Iterable[str]) -> str:
    """Negotiations that this node began before there was a table."""
    elements = ", ".join(f"0x{spi} timeout {NEGOTIATION}s" for spi in spis)
    return _add("own", elements) if elements else ""


def _exactly(name: str, elements: list[str]) -> str:
    flush = f"flush set ip6 {TABLE} {name}\n"
    return flush + (_add(name, ", ".join(sorted(elements))) if elements else "")


def _add(name: str, element: str) -> str:
    return f"add element ip6 {TABLE} {name} {{ {element} }}\n"


def _delete(name: str, element: str) -> str:
    return f"delete element ip6 {TABLE} {name} {{ {element} }}\n"
