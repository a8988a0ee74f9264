"""Feeds hostile octets to a terminal: to the parsers, and to a core in the middle of a hop.

    python -m tests.fuzz.terminal_messages [--inputs 1000000] [--seed 0]

Half of the inputs go through the parsers alone (header, message, quoted packets): anything but a value or a
:class:`~nodes.terminal.header.FormatError` is a failure. The others go to ``receive`` and ``unrecognised``
of a core that has a hop under way as first terminal and one as second: octets at random, messages of its
own wire changed in a few places, and messages whose MAC is right and whose TLVs are not. After each the
core must be bounded; at the end every hop must end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from ipaddress import IPv6Address
from random import Random

from nodes.terminal.actions import (
    Action,
    AddAddress,
    Carriage,
    Endpoint,
    Flow,
    RefreshFlows,
    Send,
    Service,
    Unrecognised,
)
from nodes.terminal.core import Terminal
from nodes.terminal.header import (
    OPTION_TYPES,
    FormatError,
    destination_options,
    option_data,
    quoted_datagram,
    quoted_option,
)
from nodes.terminal.keys import ContextKeys, Direction, Leg, PairKeys
from nodes.terminal.message import MAC_OCTETS, MOST_MESSAGE, Kind, Message, decode, encode
from nodes.terminal.plan import HopPlan

MS = 1_000_000
S = 1_000_000_000
SECRET = b"the fuzzer knows this secret too"
OURS, THEIRS = IPv6Address("fd00:1::a"), IPv6Address("fd00:1::b")
MOST_CONTEXTS = 64 + 1024


class Inputs:
    """Hostile octets: some at random, some that nearly are what they should be."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.seen: list[bytes] = [
            encode(Message(kind=kind, context=1, sequence=1)) + bytes(16) for kind in Kind
        ]

    def tlvs(self) -> bytes:
        """TLVs whose types and lengths are mostly right."""
        found = b""
        for _ in range(self.random.randrange(6)):
            kind = self.random.choice((1, 2, 3, 4, 5, 6, 7, self.random.randrange(256)))
            right = {1: 8, 2: 44, 3: 8, 4: 3, 5: 8, 6: 2 * self.random.randrange(1, 20), 7: 8}.get(kind, 5)
            size = right if self.random.random() < 0.8 else self.random.randrange(60)
            said = size if self.random.random() < 0.9 else self.random.randrange(256)
            found += bytes([kind, said]) + self.random.randbytes(size)
        return found[: MOST_MESSAGE - MAC_OCTETS - 20]

    def message(self) -> bytes:
        """A message, or what might pass for one."""
        choice = self.random.random()
        if choice < 0.2:
            return self.random.randbytes(self.random.randrange(300))
        if choice < 0.5:
            head = bytes([0x10 | self.random.randrange(16), self.random.randrange(256), 0, 0])
            return head + self.random.randbytes(16) + self.tlvs() + bytes(MAC_OCTETS)
        return self.changed(self.random.choice(self.seen))

    def changed(self, octets: bytes) -> bytes:
        """The same with some octets changed, left out, or put in."""
        changed = bytearray(octets)
        for _ in range(self.random.randrange(1, 4)):
            at = self.random.randrange(len(changed) + 1)
            act = self.random.randrange(3)
            if act == 0 and at < len(changed):
                changed[at] = self.random.randrange(256)
            elif act == 1:
                changed[at:at] = self.random.randbytes(self.random.randrange(5))
            else:
                del changed[at : at + self.random.randrange(5)]
        return bytes(changed)


def fuzz_parsers(inputs: Inputs, count: int) -> Counter[str]:
    """So many inputs through the parsers."""
    results: Counter[str] = Counter()
    for _ in range(count):
        octets = inputs.message()
        if inputs.random.random() < 0.5 and len(octets) <= 255:
            octets = inputs.changed(destination_options(octets, inputs.random.choice(list(OPTION_TYPES))))
        packet = bytes([0x60, 0, 0, 0, 0, 0, inputs.random.choice((60, 17)), 64]) + bytes(32) + octets
        for read, given in (
            (decode, octets),
            (option_data, octets),
            (quoted_option, packet),
            (quoted_datagram, packet),
        ):
            try:
                read(given)
                results[f"{read.__name__}: a value"] += 1
            except FormatError:
                results[f"{read.__name__}: a format error"] += 1
    return results


class Core:
    """A terminal whose hop never stops, and a partner that is fuzzed."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.random = inputs.random
        self.now = S
        self.core = Terminal(octets=self.random.randbytes, random=self.random)
        self.core.pair("partner", SECRET, [THEIRS])
        self.secret = PairKeys(SECRET)
        self.current = OURS
        self.flow = Flow(17, Endpoint(OURS, 5000), Endpoint(THEIRS, 80))
        self.contexts: list[tuple[ContextKeys, Direction, Leg, IPv6Address, IPv6Address]] = []
        self.do(self.core.flows_changed([Service(flow=self.flow)], [], self.now))
        self.hop()

    def do(self, actions: list[Action]) -> None:
        """Carry out what matters: addresses come, and what is sent is remembered to be changed."""
        for action in actions:
            if isinstance(action, AddAddress):
                self.current = action.address
                self.do(
                    self.core.address_added(
                        action.address, self.now, preferred=None, valid=None, advertised=False
                    )
                )
            elif isinstance(action, RefreshFlows):
                self.do(self.core.flows_changed([], [], self.now))
            elif isinstance(action, Send):
                self.sent(action)

    def sent(self, action: Send) -> None:
        self.inputs.seen.append(action.message)
        del self.inputs.seen[:-64]
        message = decode(action.message)
        for hop in self.core._first.hops:
            for exchange in hop.exchanges:
                keys = self.core._first.asking.keys(exchange)
                for leg in Leg:
                    if keys.on(leg) == message.context:
                        known = (keys, Direction.BACK, leg, action.destination, action.source)
                        self.contexts.append(known)
        del self.contexts[:-32]

    def hop(self) -> None:
        """Begin another hop, where none is under way."""
        if not self.core._first.hops:
            self.do(self.core.hop(self.now, HopPlan(first=self.current))[1])

    def one(self) -> None:
        """One hostile input."""
        self.now += self.random.randrange(3 * MS)
        choice = self.random.random()
        source, destination = THEIRS, self.random.choice((OURS, self.current))
        if choice < 0.45 and self.contexts:
            octets, source, destination = self.authentic()
        elif choice < 0.6:
            octets, source, destination = self.question()
        else:
            octets = self.inputs.message()
        if choice > 0.9:
            header = destination_options(octets) if len(octets) <= 255 else octets
            packet = bytes([0x60, 0, 0, 0, 0, 0, self.random.choice((60, 17)), 64])
            quoted = packet + destination.packed + source.packed + header
            error = self.random.choice(list(Unrecognised))
            self.do(self.core.unrecognised(error, source, quoted, self.now))
        else:
            carriage = self.random.choice(list(Carriage))
            self.do(self.core.receive(source, destination, octets, carriage, self.now))
        if self.random.random() < 0.05:
            self.do(self.core.tick(self.now))
            self.hop()

    def authentic(self) -> tuple[bytes, IPv6Address, IPv6Address]:
        """An answer in a context of the core's, with a MAC that is right and TLVs that are whatever."""
        keys, direction, leg, source, destination = self.random.choice(self.contexts)
        head = bytes([0x10 | self.random.randrange(16), self.random.randrange(256), 0, 0])
        sequence = self.random.choice((self.random.randrange(1 << 40), self.now, (1 << 64) - 1))
        octets = head + keys.on(leg).to_bytes(8, "big") + sequence.to_bytes(8, "big") + self.tlvs()
        return octets + keys.mac(leg, direction, source, destination, octets), source, destination

    def tlvs(self) -> bytes:
        if self.random.random() < 0.5:  # answers to what was asked
            return bytes([4, 3, 0, self.random.randrange(3), self.random.choice((0, 0, 1, 2, 16, 17))])
        return self.inputs.tlvs()

    def question(self) -> tuple[bytes, IPv6Address, IPv6Address]:
        """A request, or what follows one, of a partner gone bad."""
        contexts = list(self.core._second.contexts)
        if contexts and self.random.random() < 0.8:
            context = self.random.choice(contexts[-8:])
            keys = self.core._second.contexts.keys(context)
            leg = self.random.choice(list(Leg))
            source = context.second if leg is Leg.SECOND else THEIRS
        else:
            keys = self.secret.context(self.secret.new_context(self.random.randbytes))
            leg, source = Leg.FIRST, THEIRS
        kind = self.random.choice((1, 1, 3, 5, 7, self.random.randrange(16)))
        head = bytes([0x10 | kind, self.random.choice((0xC0, 0xE0, 0x00)), 0, 0])
        octets = head + keys.on(leg).to_bytes(8, "big") + self.random.randrange(1 << 40).to_bytes(8, "big")
        if kind == Kind.UPDATE_REQUEST and self.random.random() < 0.8:
            octets += bytes([2, 44]) + keys.seal(
                IPv6Address(self.random.getrandbits(128)), self.random.randbytes
            )
            octets += bytes([1, 8, 0, self.random.randrange(4), 17, 0]) + (80).to_bytes(2, "big")
            octets += (5000).to_bytes(2, "big")
        else:
            octets += self.inputs.tlvs()
        octets = octets[: MOST_MESSAGE - MAC_OCTETS]
        destination = self.random.choice((OURS, self.current))
        return octets + keys.mac(leg, Direction.FORWARD, source, destination, octets), source, destination

    def check(self) -> None:
        """Whatever came, the core is bounded."""
        assert len(self.core._second.contexts) <= MOST_CONTEXTS
        assert len(self.core._first.hops) <= 16
        assert len(self.core._reception.limit) <= 4096
        for tracked in self.core._in.services:
            assert len(tracked.local.accepted) <= 16
            assert len(tracked.remote.accepted) <= 16
        for context in self.core._second.contexts:
            assert len(context.unknown) <= 256
            assert len(context.sources) <= 16
        assert len(self.core._in.dropped) <= 32

    def end(self) -> None:
        """Left alone, everything ends."""
        for _ in range(2000):
            wake = self.core.next_wake()
            if wake is None:
                break
            self.now = max(wake, self.now)
            self.do(self.core.tick(self.now))
        assert not self.core._first.hops, "a hop never ended"
        assert not self.core._second.contexts, "a context never ended"


def fuzz_core(inputs: Inputs, count: int) -> Counter[str]:
    """So many inputs to a core."""
    core = Core(inputs)
    for number in range(count):
        core.one()
        if number % 64 == 0:
            core.check()
    core.check()
    core.end()
    results = Counter({f"dropped: {reason}": many for reason, many in core.core._in.dropped.items()})
    return results + Counter({"taken": count - sum(core.core._in.dropped.values())})


def main() -> None:
    """The fuzzer's entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    inputs = Inputs(Random(given.seed))
    for name, fuzz in (("parsers", fuzz_parsers), ("core", fuzz_core)):
        began = time.monotonic()
        results = fuzz(inputs, given.inputs // 2)
        print(f"{name}: {given.inputs // 2} inputs in {time.monotonic() - began:.0f} s, none failed")
        for what, many in results.most_common():
            print(f"  {many:8} {what}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
