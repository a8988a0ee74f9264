"""What the two halves of a terminal share. No I/O."""

from __future__ import annotations

import dataclasses
from collections import Counter
from random import Random

from nodes.terminal.actions import Endpoint, Flow, KeepAddress, Outcome
from nodes.terminal.keys import ContextKeys, RandomOctets
from nodes.terminal.outbox import Outbox
from nodes.terminal.pairs import Pairs
from nodes.terminal.policy import Policy
from nodes.terminal.services import ServiceTable, Tracked
from nodes.terminal.settings import Settings

FLOW_LABEL_BITS = 20


@dataclasses.dataclass
class Surroundings:
    """The things that a first and a second terminal in one node have together.

    Attributes:
        settings: of the node.
        policy: which services support updating.
        pairs: the partners.
        services: all services.
        outbox: where actions go.
        octets: randomness that nobody foretells.
        random: chance for times, from a seed where a run is to be repeated.
        dropped: messages that were not taken, counted by why.
    """

    settings: Settings
    policy: Policy
    pairs: Pairs
    services: ServiceTable
    outbox: Outbox
    octets: RandomOctets
    random: Random
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)

    def fresh_label(self, tracked: Tracked) -> None:
        """Give the service another flow label, where that is wanted (RFC 6437: never 0 here)."""
        if self.settings.flow_labels:
            label = int.from_bytes(self.octets(3), "big") % ((1 << FLOW_LABEL_BITS) - 1) + 1
            self.services.label(tracked, label)

    def keep(self, tracked: Tracked, now: int) -> None:
        """The service stays where it is until it ends, or for as long as an address is kept at most."""
        if tracked.kept_until is None and tracked.ended is None:
            until = now + self.settings.keep_most
            self.services.keep(tracked, until)
            self.outbox.act(KeepAddress(address=tracked.local.current.address, until=until))

    def report_service(
        self, number: int, pair: str | None, flow: Flow, outcome: Outcome, reason: str
    ) -> None:
        """Say what became of a service in a hop."""
        self.outbox.report(
            "hop.service",
            hop=number,
            partner=pair,
            service=described(flow),
            outcome=outcome.value,
            reason=reason,
        )


def target(keys: ContextKeys, flow: Flow, ports: bool, number: int, second: Endpoint) -> Endpoint:
    """A service's end at the second address: its port there is another one only where ports move."""
    if ports and flow.protocol != 58:
        return Endpoint(second.address, keys.moved_port(number))
    return second


def described(flow: Flow) -> dict[str, object]:
    """A flow as events show it."""
    return {
        "protocol": {6: "tcp", 17: "udp", 58: "icmpv6"}.get(flow.protocol, str(flow.protocol)),
        "local": f"[{flow.local.address}]:{flow.local.port}",
        "remote": f"[{flow.remote.address}]:{flow.remote.port}",
    }
