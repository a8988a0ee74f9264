"""Whether the applications' account of a flow and the packets agree, probe by probe. No I/O.

The sender's application *offered* a probe to its node, or was *refused*; the receiver's application
*received* it or not. A capture at each node *saw it leave* and *saw it arrive*, or not. What each
combination means:

=========  ===========  ============  ========  ==============================================================
offered    seen leave   seen arrive   received
=========  ===========  ============  ========  ==============================================================
yes        yes          yes           yes       delivered
yes        yes          no            no        lost on the way
yes        no           no            no        lost in the source: no route, no SA, a filter, no room
yes        left open    no            no        lost before the destination
no         no           no            no        refused by the source, as its application was told
any        any          yes           no        explained if it was late, one fragment, or found no room in
                                                the receiver's socket; else a contradiction
any        any          no            yes       contradiction: received, not seen arriving
any        no           yes, or       yes       contradiction: received or seen arriving, not seen leaving
no         yes, or      yes, or       yes       contradiction: refused, yet seen or received
=========  ===========  ============  ========  ==============================================================

The same holds for the second and every further copy of a probe. Where ESP leaves a node encrypted by its
kernel, no capture there sees the probe: then *seen leaving* is left open.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from orchestrator.capture.classify import Mask
from orchestrator.capture.pcapng import Offsets
from orchestrator.continuity.flow_logs import Integers, ReceivedLog, SentLog
from orchestrator.reconciliation.sightings import NEVER, Sightings, positions

TIME_TOLERANCE_NS = 1_000_000
"""By how much the application's receive time and the capture's may differ. Both are the kernel's stamp of one
packet, but for the readings of the clocks that put them on one scale, which are some microseconds apart."""

_SHOWN = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Receiver:
    """What is known of the receiving end, beside its log.

    Attributes:
        dropped: datagrams that found no room in its socket.
        ended_ns: before this moment it had not ended, and had to receive what came.
    """

    dropped: int = 0
    ended_ns: int = NEVER


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contradiction:
    """Probes of which the application and the packets say different things.

    Attributes:
        what: they say.
        probes: how many.
        sequence: the numbers of the first ones.
        leaving, arriving: the numbers of the first packets of these probes at either node, where seen.
    """

    what: str
    probes: int
    sequence: tuple[int, ...] = ()
    leaving: tuple[int, ...] = ()
    arriving: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """The account of a flow's probes.

    Attributes:
        account: how many probes came to each end, by its name; those of which all evidence agrees.
        contradictions: the others.
        unseen_leaving, unseen_arriving: probes that were offered and not seen; where the capture may have
            missed packets, nothing can be said of them.
        time_difference_ns: the largest between the application's receive time and the capture's; None where
            no probe has both, or times were not compared.
    """

    account: Mapping[str, int]
    contradictions: tuple[Contradiction, ...]
    unseen_leaving: int
    unseen_arriving: int
    time_difference_ns: int | None


def agreement(
    sent: SentLog,
    received: ReceivedLog,
    leaving: Sightings | None,
    arriving: Sightings,
    receiver: Receiver,
    *,
    compare_times: bool = True,
) -> Agreement:
    """Compare the logs of both ends with the sightings at both nodes; ``leaving`` None if it is left open."""
    return _Comparison(sent, received, leaving, arriving, receiver, compare_times).result()


class _Comparison:
    def __init__(
        self,
        sent: SentLog,
        received: ReceivedLog,
        leaving: Sightings | None,
        arriving: Sightings,
        receiver: Receiver,
        compare_times: bool,
    ) -> None:
        probes = len(sent.sequence)
        at, known = positions(sent, received.sequence)
        self._sent = sent
        self._leaving = leaving
        self._arriving = arriving
        self._receiver = receiver
        self._compare_times = compare_times
        self._offered = sent.errno == 0
        self._received = np.bincount(at[known], minlength=probes)
        self._received_ns = _earliest(at[known], received.received_ns[known], probes)
        self._left = leaving.copies(probes) if leaving is not None else None
        self._arrived = arriving.copies(probes)
        self._contradictions: list[Contradiction] = []

    def result(self) -> Agreement:
        offered, received, arrived = self._offered, self._received > 0, self._arrived > 0
        explained = self._explained()
        left = arrived | received if self._left is None else self._left > 0
        unseen_leaving = ~left if self._left is not None else np.zeros(len(left), np.bool_)

        self._say("received, not seen arriving", received & ~arrived)
        self._say("seen arriving, not received", arrived & ~received & ~explained)
        self._say("received or seen arriving, not seen leaving", (received | arrived) & unseen_leaving)
        self._say("refused by the source, yet seen or received", ~offered & (left | arrived | received))
        self._say("received more often than seen arriving", arrived & (self._received > self._arrived))
        self._say(
            "seen arriving more often than received",
            received & (self._arrived > self._received) & ~explained,
        )
        self._say_unknown()
        difference, elsewhere = self._time_difference()
        self._say("received at another time than seen", elsewhere)

        lost = offered & ~arrived & ~received
        account = {
            "delivered": offered & arrived & received & ~unseen_leaving,
            "lost on the way": lost & left,
            "lost in the source": lost & unseen_leaving,
            "lost before the destination": lost & ~left & ~unseen_leaving,
            "not received, for a known reason": arrived & ~received & explained,
            "refused by the source": ~offered & ~left & ~arrived & ~received,
        }
        return Agreement(
            account={name: int(np.count_nonzero(which)) for name, which in account.items() if which.any()},
            contradictions=tuple(self._contradictions),
            unseen_leaving=int(np.count_nonzero(offered & unseen_leaving)),
            unseen_arriving=int(np.count_nonzero(offered & ~arrived)),
            time_difference_ns=difference,
        )

    def _explained(self) -> Mask:
        """The probes for which there is a reason why not all that arrived was received.

        They came once the receiver might have ended; only their first fragment is known; or the receiver's
        socket had no room, for as many as it says.
        """
        seen = self._arriving
        excused = ~seen.whole | (seen.time_ns >= self._receiver.ended_ns)
        explained = np.zeros(len(self._offered), np.bool_)
        explained[seen.position[excused]] = True
        surplus = np.where(explained, 0, np.maximum(self._arrived - self._received, 0))
        if 0 < surplus.sum() <= self._receiver.dropped:
            explained |= surplus > 0
        return explained

    def _time_difference(self) -> tuple[int | None, Mask]:
        """The largest difference of times, and the probes for which it is out of bounds.

        Of several interfaces, the one whose time is nearest is where the application's came from.
        """
        probes = len(self._offered)
        if not self._compare_times:
            return None, np.zeros(probes, np.bool_)
        seen = self._arriving
        difference = np.full(probes, NEVER, np.int64)
        for interface in np.unique(seen.interface):
            on_it = seen.interface == interface
            first_ns = _earliest(seen.position[on_it], seen.time_ns[on_it], probes)
            both = (first_ns < NEVER) & (self._received_ns < NEVER)
            apart = np.where(both, np.abs(self._received_ns - np.where(both, first_ns, 0)), NEVER)
            difference = np.minimum(difference, apart)
        compared = difference < NEVER
        if not compared.any():
            return None, compared
        if seen.stamp_ns is None:
            out = difference > TIME_TOLERANCE_NS
        else:  # of a stream, which may be read as late as its application likes
            out = self._received_ns < _earliest(seen.position, seen.stamp_ns, probes) - TIME_TOLERANCE_NS
        return int(difference[compared].max()), compared & out

    def _say(self, what: str, which: Mask) -> None:
        if which.any():
            self._contradictions.append(
                Contradiction(
                    what=what,
                    probes=int(np.count_nonzero(which)),
                    sequence=tuple(self._sent.sequence[which][:_SHOWN].tolist()),
                    leaving=_first(self._leaving.numbers_of(which)) if self._leaving is not None else (),
                    arriving=_first(self._arriving.numbers_of(which)),
                )
            )

    def _say_unknown(self) -> None:
        left = self._leaving.unknown if self._leaving is not None else np.empty(0, np.int64)
        arrived = self._arriving.unknown
        if len(left) or len(arrived):
            self._contradictions.append(
                Contradiction(
                    what="in no log of the sender, yet seen",
                    probes=max(len(left), len(arrived)),
                    leaving=_first(left),
                    arriving=_first(arrived),
                )
            )


def _earliest(position: Integers, time_ns: Integers, probes: int) -> Integers:
    """The earliest time of each probe; :data:`NEVER` where there is none."""
    earliest = np.full(probes, NEVER, np.int64)
    np.minimum.at(earliest, position, time_ns)
    return earliest


def _first(numbers: Offsets) -> tuple[int, ...]:
    return tuple(numbers[:_SHOWN].tolist())
