"""The abnormal-information messages of a guard: sent, and of those that come in believed or refused."""

from __future__ import annotations

import collections
import contextlib

import anyio
import anyio.abc
import anyio.lowlevel

from nodes.abnormality.machine import Side
from nodes.abnormality.message import MENDED, AbnormalInformation, parse
from nodes.peer.guard.sightings import Flights
from nodes.peer.guard.silence import Silence, now_ns
from nodes.peer.guard.told import header_said, version_of
from nodes.peer.guard.wire import Header, Wire
from nodes.role import Publish

SENT, ACCEPTED, REFUSED = (f"abnormality.message.{what}" for what in ("sent", "accepted", "refused"))
REFUSALS_TOGETHER = 1.0
"""Seconds of which the refused messages are told together."""
MOST_STRANGE = 64
MOST_FAILURES = 1024


class Correspondence:
    """What goes to and fro between the guards.

    A message is believed only where its cookies are exactly those of a negotiation that this node knows: its
    own in flight, or, for a partner who says that he is mended, the one for which this receiver is inactive.

    Args:
        wire: the sockets.
        flights: the negotiations that this node began.
        silence: the states.
        say: puts an event on the stream.
        tasks: what is done a moment later.
    """

    def __init__(
        self, wire: Wire, flights: Flights, silence: Silence, say: Publish, tasks: anyio.abc.TaskGroup
    ) -> None:
        self._wire = wire
        self._flights = flights
        self._silence = silence
        self._say = say
        self._tasks = tasks
        self._strange: collections.OrderedDict[str, Header] = collections.OrderedDict()
        self._failures: collections.OrderedDict[tuple[str, Side], Header] = collections.OrderedDict()
        self._refused = 0
        self.failed_cookies, self.heard_of = anyio.create_memory_object_stream[tuple[bytes, bytes]](64)
        """Negotiations of this node's that its partner calls abnormal, for whoever ends them."""

    def remember(self, partner: str, side: Side, header: Header, *, newly: bool) -> None:
        """Keep the cookies of the negotiation for which a side is inactive, ``newly`` or since before."""
        if newly:
            self._failures.pop((partner, side), None)
        self._failures.setdefault((partner, side), header)
        if len(self._failures) > MOST_FAILURES:
            self._failures.popitem(last=False)

    def forget(self, partner: str, side: Side) -> None:
        """Keep nothing of the negotiation for which a side was inactive before."""
        self._failures.pop((partner, side), None)

    def tell(self, header: Header, reason: str) -> None:
        """Send a partner the message about a negotiation."""
        said = AbnormalInformation(
            version_of(header), header.initiator_cookie, header.responder_cookie, reason
        )
        if self._wire.tell(header.ends, said):
            self._say(SENT, partner=header.ends.partner, reason=reason, **header_said(header))

    def tell_mended(self, partner: str) -> bool:
        """Tell a partner that his receiver need not wait; whether there is anything to tell."""
        header = self._failures.pop((partner, Side.SENDER), None)
        if header is not None:
            self.tell(header, MENDED)
        return header is not None

    def strange_header(self, partner: str) -> Header | None:
        """The header of a partner's last message that no daemon can parse; it is given once."""
        self._receive()  # the packet itself may wait there still
        return self._strange.pop(partner, None)

    async def watch_sent(self) -> None:
        """Follow what this node sends, until cancelled."""
        while True:
            await anyio.wait_readable(self._wire.outgoing)
            self._see_sent()

    async def watch_received(self) -> None:
        """Follow what of note comes in, until cancelled."""
        while True:
            await anyio.wait_readable(self._wire.incoming)
            self._receive()
            await anyio.lowlevel.checkpoint()  # a flood leaves the others their turn

    def _see_sent(self) -> None:
        for header in self._wire.sent():
            self._flights.sent(header, now_ns())

    def _receive(self) -> None:
        for header in self._wire.received():
            said = parse(header.octets)
            if said is None:
                self._strange.pop(header.ends.partner, None)
                self._strange[header.ends.partner] = header
                if len(self._strange) > MOST_STRANGE:
                    self._strange.popitem(last=False)
            elif not (self._mended(header, said) if said.reason == MENDED else self._abnormal(header, said)):
                self._refused += 1
                if self._refused == 1:
                    self._tasks.start_soon(self._tell_refusals)

    def _abnormal(self, header: Header, said: AbnormalInformation) -> bool:
        """Believe a partner who calls a negotiation abnormal; whether it is one of ours."""
        self._see_sent()
        partner, cookies = header.ends.partner, (said.initiator_cookie, said.responder_cookie)
        flight = self._flights.find(partner, *cookies, now_ns())
        if flight is None:
            return False
        self._flights.landed(said.initiator_cookie, now_ns() if not flight.failed else 0, established=False)
        self._say(ACCEPTED, partner=partner, reason=said.reason, **header_said(header))
        newly = self._silence.abnormal(
            partner, Side.SENDER, said.reason, text="abnormal-information message", **header_said(header)
        )
        self.remember(partner, Side.SENDER, header, newly=newly)
        with contextlib.suppress(anyio.WouldBlock):  # charon forgets it by itself, later
            self.failed_cookies.send_nowait(cookies)
        return True

    def _mended(self, header: Header, said: AbnormalInformation) -> bool:
        """Believe a partner who says that he is mended; whether this receiver waits for him."""
        partner = header.ends.partner
        failure = self._failures.get((partner, Side.RECEIVER))
        if failure is None or failure.initiator_cookie != said.initiator_cookie:
            return False
        if any(said.responder_cookie) and failure.responder_cookie != said.responder_cookie:
            return False
        if not self._silence.mended(partner):
            return False
        del self._failures[(partner, Side.RECEIVER)]
        self._say(ACCEPTED, partner=partner, reason=said.reason, **header_said(header))
        return True

    async def _tell_refusals(self) -> None:
        await anyio.sleep(REFUSALS_TOGETHER)
        self._say(REFUSED, messages=self._refused)
        self._refused = 0
