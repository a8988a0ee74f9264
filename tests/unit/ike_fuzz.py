"""A fuzzer of the IKEv1 endpoint, seeded with what charon and the endpoint really said to each other.

``python tests/unit/ike_fuzz.py --inputs 1000000 --seed 1`` feeds that many inputs to the parsers, and to an
endpoint with a tunnel up. A parser returns or raises ``MalformedError``. An endpoint raises nothing, and has
no more state than it may. The same seed makes the same inputs.

``tests/data/ikev1-messages.json`` has messages from the captures of two runs, as they went over the wire and
with payloads decrypted: strongSwan 5.9.8 with itself and with the endpoint, ECP256, with PFS.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import time
from collections import Counter
from ipaddress import IPv6Network
from pathlib import Path

from ike_wire import INNER_A, INNER_B, Wire

from nodes.ike.context import Path as IkePath
from nodes.ike.crypto.keys import quick_hash_1
from nodes.ike.messages.header import HEADER, ExchangeType, Header, encode_header, parse_header
from nodes.ike.messages.identification import (
    encode_identification,
    network_selector,
    parse_identification,
    selector_network,
)
from nodes.ike.messages.malformed import MalformedError
from nodes.ike.messages.notification import parse_deletion, parse_notification
from nodes.ike.messages.payloads import Payload, PayloadType, encode_chain, parse_chain
from nodes.ike.messages.sa_payload import encode_sa, parse_sa
from nodes.ike.messages.vendor_id import announced
from nodes.ike.proposals import choose_esp, choose_ike, esp_suites, ike_suite

CORPUS = Path(__file__).parents[1] / "data" / "ikev1-messages.json"
INTERESTING = (0, 1, 2, 3, 4, 5, 7, 8, 12, 16, 20, 27, 28, 32, 63, 64, 65, 127, 128, 254, 255)
IKE = tuple(ike_suite(words) for words in ("aes128-sha256-ecp256", "aes256-sha256-modp2048"))
ESP = esp_suites("aes128gcm16-esn-noesn", "ecp256") + esp_suites("aes128-sha256", None)


def corpus():
    """The recorded messages."""
    return json.loads(CORPUS.read_text())


def datagrams():
    """The recorded messages as they went over the wire."""
    return [bytes.fromhex(one["octets"]) for one in corpus()]


def chains():
    """The recorded messages' payloads, decrypted, each with the type of the first."""
    return [(one["first"], bytes.fromhex(one["payloads"])) for one in corpus()]


# ------------------------------------------------------------------ mutation


def mutate(octets: bytes, dice: random.Random, others) -> bytes:
    """One to four changes of a kind that parsers fear."""
    changed = bytearray(octets)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(changed)) if changed else 0
        match dice.randrange(9):
            case 0 if changed:
                changed[at] ^= 1 << dice.randrange(8)
            case 1 if changed:
                changed[at] = dice.choice(INTERESTING)
            case 2:
                del changed[at:]
            case 3:
                changed[at:at] = dice.randbytes(dice.randint(1, 40))
            case 4:
                del changed[at : at + dice.randint(1, 40)]
            case 5 if len(changed) > at + 1:
                struct.pack_into(
                    "!H", changed, at, dice.choice((0, 1, 3, 4, 8, len(changed), 0x7FFF, 0xFFFF))
                )
            case 6:
                other = dice.choice(others)
                start = dice.randrange(len(other) + 1)
                changed[at:at] = other[start : start + dice.randint(1, 200)]
            case 7:
                piece = changed[at : at + dice.randint(1, 60)]
                changed[at:at] = piece * dice.randint(1, 20)
            case 8:
                changed += bytes(dice.randint(1, 16))
    return bytes(changed[:20000])


def mutate_body(first: int, octets: bytes, dice: random.Random, others) -> tuple[int, bytes]:
    """Changes inside of one payload, in a chain that stays whole: they come past the first checks."""
    payloads = list(parse_chain(first, octets))
    if not payloads:
        return first, octets
    at = dice.randrange(len(payloads))
    kept = payloads[at]
    match dice.randrange(6):
        case 0:
            del payloads[at]
        case 1:
            payloads.insert(dice.randrange(len(payloads) + 1), kept)
        case _:
            payloads[at] = kept._replace(body=mutate(kept.body, dice, others)[:4000])
    return (int(payloads[0].type) if payloads else 0), encode_chain(payloads)


def adapted(first: int, octets: bytes) -> tuple[int, bytes]:
    """A recorded chain without its hash, and with the selectors of the endpoint's own child."""
    selectors = [encode_identification(network_selector(IPv6Network(inner))) for inner in (INNER_A, INNER_B)]
    payloads = []
    for payload in parse_chain(first, octets):
        if payload.type is PayloadType.IDENTIFICATION and selectors:
            payloads.append(payload._replace(body=selectors.pop(0)))
        elif payload.type is not PayloadType.HASH:
            payloads.append(payload)
    return (int(payloads[0].type) if payloads else 0), encode_chain(payloads)


def with_length(octets: bytes) -> bytes:
    """A message whose header says its length, so that what stands behind is looked at."""
    if len(octets) < HEADER:
        return octets
    return octets[:24] + len(octets).to_bytes(4, "big") + octets[HEADER:]


# ------------------------------------------------------------------ targets


def parse_everything(first: int, octets: bytes) -> None:
    """Parse a chain of payloads and every payload in it, as if each were of each kind."""
    payloads = parse_chain(first, octets, padded=True)
    assert parse_chain(first, encode_chain(payloads)) == payloads
    for payload in payloads:
        for parser in (_sa, parse_notification, parse_deletion, _identity, _vendor):
            try:
                parser(payload.body)
            except MalformedError:
                continue


def _sa(body):
    proposals = parse_sa(body)
    assert parse_sa(encode_sa(proposals)) == proposals
    choose_ike(proposals, IKE)
    choose_esp(proposals, ESP, encap=False)
    choose_esp(proposals, ESP, encap=True)


def _identity(body):
    selector_network(parse_identification(body))


def _vendor(body):
    announced([body])


class Target:
    """An endpoint with a tunnel up, that hears everything; it is replaced when its partner was believed."""

    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter()
        self.replaced = 0
        self._begin()

    def _begin(self) -> None:
        self._wire = Wire(
            a={"retransmit_tries": 0},
            b={"retransmit_tries": 0, "half_open": 64},
            connection={"child": {"pfs": "ecp256"}, "a": {"encap": True}},
        )
        self._wire.up()
        self._side = self._wire.b
        self._partner = next(iter(self._wire.a.endpoint.phase1.sas))
        self._path = IkePath(self._side.address, 4500, self._wire.a.address, 4500)
        self._orders = len(self._side.plane.orders)

    def hear(self, octets: bytes) -> None:
        """Have the endpoint take a datagram."""
        self._wire.now += 0.0001
        self._side.endpoint.receive(octets, self._path, self._wire.now)
        self._wire.drain(self._side)
        self._wire._queue.clear()
        self._side.events.clear()
        self._wire.messages.clear()
        core = self._side.endpoint
        assert core.phase1.sas.half_open <= 64
        assert len(core.phase1.sas) <= 66
        assert len(core.lifecycle.pairs) <= 17

    def renew(self) -> None:
        """Begin anew where a partner that was believed has ended the tunnel, or used its exchanges up."""
        sa = self._side.endpoint.phase1.sas.find(self._partner.cookies)
        spent = sa is None or not sa.established or len(sa.seen) > 4096 or len(self._wire.seen) > 4096
        if spent or not self._side.endpoint.lifecycle.pairs:
            self.rejected.update(self._side.endpoint.rejections.counts)
            self.replaced += 1
            self._begin()

    def with_cookies(self, octets: bytes) -> bytes:
        """A message that names the endpoint's ISAKMP SA."""
        return b"".join(self._partner.cookies) + octets[16:]

    def authentic(self, exchange: ExchangeType, first: int, chain: bytes) -> bytes:
        """A chain of payloads, however malformed, as the partner itself would seal it."""
        sa = self._partner
        message_id = sa.new_message_id()
        digest = quick_hash_1(sa.keys, message_id, chain)
        hashed = bytearray(encode_chain([Payload(PayloadType.HASH, digest)]))
        hashed[0] = first
        body = sa.chain(message_id).encrypt(bytes(hashed) + chain)
        header = Header(*sa.cookies, PayloadType.HASH, exchange, 1, message_id)
        return encode_header(header, len(body)) + body


def fuzz(inputs: int, seed: int, say=None) -> Counter:
    """Feed so many inputs; what came of them, by kind."""
    dice = random.Random(seed)
    wire, inner = datagrams(), chains()
    inner_octets = [octets for _, octets in inner]
    target = Target()
    outcome: Counter[str] = Counter()
    started = time.monotonic()
    for number in range(inputs):
        first, octets = dice.choice(inner)
        match number % 4:
            case 0 | 1:
                first = first if dice.random() < 0.8 else dice.randrange(256)
                try:
                    parse_everything(first, mutate(octets, dice, inner_octets))
                    outcome["chain parsed"] += 1
                except MalformedError:
                    outcome["chain refused"] += 1
            case 2:
                message = mutate(dice.choice(wire), dice, wire)
                message = with_length(message) if dice.random() < 0.8 else message
                message = target.with_cookies(message) if dice.random() < 0.4 else message
                try:
                    parse_header(message)
                except MalformedError:
                    outcome["header refused"] += 1
                target.hear(message)
                outcome["datagrams heard"] += 1
            case 3:
                exchange = dice.choice((ExchangeType.QUICK_MODE, ExchangeType.INFORMATIONAL))
                first, octets = adapted(first, octets)
                chance = dice.random()
                if chance < 0.7:
                    first, octets = mutate_body(first, octets, dice, inner_octets)
                elif chance < 0.95:
                    octets = mutate(octets, dice, inner_octets)
                target.hear(target.authentic(exchange, first, octets))
                outcome["authentic messages heard"] += 1
        if number % 4 == 3:
            target.renew()
        if say is not None and number and number % 100_000 == 0:
            say(f"{number} inputs, {number / (time.monotonic() - started):.0f} a second, {dict(outcome)}")
    outcome["tunnels"] = target.replaced + 1
    target.rejected.update(target._side.endpoint.rejections.counts)
    outcome.update({f"rejected: {reason}": count for reason, count in target.rejected.items()})
    return outcome


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    started = time.monotonic()
    outcome = fuzz(asked.inputs, asked.seed, say=lambda text: print(text, file=sys.stderr))
    seconds = time.monotonic() - started
    for kind, count in sorted(outcome.items()):
        print(f"{count:9}  {kind}")
    print(f"{asked.inputs} inputs in {seconds:.0f} s, seed {asked.seed}: no exception but the declared one")


if __name__ == "__main__":
    main()
