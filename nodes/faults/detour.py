"""The kernel filter that leads IKE packets, and only these, into a queue.

ESP in UDP is left alone: what lacks the non-ESP marker on port 4500 (RFC 3948 §2.2) does not match. So are
packets with :data:`MARK`, the engine's own copies. Where nobody serves the queue its packets pass: when the
engine dies, IKE goes on at once, and the rules that it leaves are harmless.

nft has a queue of its own on most kernels; where it has none, xtables' NFQUEUE is tried. Which one works is
found out by trying.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from nodes import errors

QUEUE = 0x1BED
MARK = 0x1BED
"""The mark of a packet that the engine sends itself."""

_NAME = "hopbed-faults"
_TABLE = "hopbed_faults"
_XTABLES_CHAINS = (("mangle", "INPUT"), ("filter", "OUTPUT"))
"""Incoming packets are seen before, outgoing ones after whatever else filters them."""
_MARKERS = {
    "u32": '-m u32 --u32 "48=0"',
    "bpf": '-m bpf --bytecode "4,32 0 0 48,21 0 1 0,6 0 0 65535,6 0 0 0"',
}
"""The first four octets of the UDP payload are 0, IPv6 header without extensions, as xtables can say it."""


class Filter(Protocol):
    """One way to lead packets into the queue."""

    @property
    def name(self) -> str:
        """What it is called."""

    def put_in(self) -> str | None:
        """Begin; what a leftover had is replaced. Returns what is complained about, or None."""

    def take_out(self) -> None:
        """End."""


@dataclasses.dataclass(frozen=True)
class Nft:
    """nft's own ``queue``."""

    name: str = "nft queue"

    def put_in(self) -> str | None:
        """Begin."""
        return _run(["nft", "-f", "-"], nft_script())

    def take_out(self) -> None:
        """End."""
        _run(["nft", "-f", "-"], f"table ip6 {_TABLE}\ndelete table ip6 {_TABLE}\n")


@dataclasses.dataclass(frozen=True)
class Xtables:
    """xtables' NFQUEUE: ``command`` is ``ip6tables`` or a variant of it, ``marker`` the match to use."""

    command: str
    marker: str

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.command} NFQUEUE, {self.marker}"

    def put_in(self) -> str | None:
        """Begin."""
        self.take_out()
        complaint = _run([f"{self.command}-restore", "-w", "5", "--noflush"], xtables_script(self.marker))
        if complaint is not None:
            self.take_out()
        return complaint

    def take_out(self) -> None:
        """End."""
        for table, chain in _XTABLES_CHAINS:
            line = [self.command, "-w", "5", "-t", table]
            if _run([*line, "-D", chain, "-j", _NAME]) is None:
                while _run([*line, "-D", chain, "-j", _NAME]) is None:
                    pass
            if _run([*line, "-F", _NAME]) is None:
                _run([*line, "-X", _NAME])


def ways() -> Sequence[Filter]:
    """What can be tried, the best first."""
    xtables = (
        Xtables(command, marker) for command in ("ip6tables", "ip6tables-legacy") for marker in _MARKERS
    )
    return [Nft(), *xtables]


@contextmanager
def detour() -> Iterator[Filter]:
    """Lead IKE packets into the queue for the length of the context; its value says how.

    Raises:
        MachineError: nothing that can be tried works here.
    """
    complaints = []
    for way in ways():
        complaint = way.put_in()
        if complaint is None:
            break
        complaints.append(f"{way.name}: {complaint}")
    else:
        raise errors.MachineError(
            "IKE packets cannot be led into a queue here, on which faults rest: modprobe nft_queue, or "
            f"modprobe xt_NFQUEUE, or install nftables and iptables ({'; '.join(complaints)})"
        )
    try:
        yield way
    finally:
        way.take_out()


def nft_script() -> str:
    """The table for nft: outgoing packets last of all, incoming ones first."""
    queue = f"queue flags bypass to {QUEUE}"
    return f"""\
table ip6 {_TABLE}
delete table ip6 {_TABLE}
table ip6 {_TABLE} {{
    chain ike {{
        meta mark {MARK:#x} return
        udp dport 500 {queue}
        udp sport 500 {queue}
        udp dport 4500 @th,64,32 0 {queue}
        udp sport 4500 @th,64,32 0 {queue}
    }}
    chain incoming {{
        type filter hook input priority -310; policy accept;
        jump ike
    }}
    chain outgoing {{
        type filter hook output priority 310; policy accept;
        jump ike
    }}
}}
"""


def xtables_script(marker: str) -> str:
    """The chains for ``ip6tables-restore``."""
    queue = f"-j NFQUEUE --queue-num {QUEUE} --queue-bypass"
    lines = []
    for table, chain in _XTABLES_CHAINS:
        lines += [f"*{table}", f":{_NAME} - [0:0]", f"-A {_NAME} -m mark --mark {MARK:#x} -j RETURN"]
        for port in ("--dport", "--sport"):
            lines.append(f"-A {_NAME} -p udp -m udp {port} 500 {queue}")
            lines.append(f"-A {_NAME} -p udp -m udp {port} 4500 {_MARKERS[marker]} {queue}")
        lines += [f"-A {chain} -j {_NAME}", "COMMIT"]
    return "\n".join([*lines, ""])


def _run(argv: Sequence[str], stdin: str = "") -> str | None:
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return f"{argv[0]} is not installed"
    if done.returncode == 0:
        return None
    return " ".join(done.stderr.split()) or f"status {done.returncode}"
