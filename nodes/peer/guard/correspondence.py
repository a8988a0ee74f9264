"""The abnormal-information messages of a guard: sent, and of those that come in believed or refused."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterable

import anyio
import anyio.abc
import anyio.lowlevel

from nodes.abnormality.failures import Due, Failures
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


class Correspondence:
    """What goes to and fro between the guards.

    A message is believed only where its cookies are exactly those of a negotiation that this node knows: its
    own in flight, or, for a partner who says that he is mended, the one for which this receiver is inactive.

    Args:
        wire: the sockets.
        flights: the negotiations that this node began.
        failures: those for which sides are inactive.
        silence: the states.
        say: puts an event on the stream.
        tasks: what is done a moment later.
    """

    def __init__(
        self,
        wire: Wire,
        flights: Flights,
        failures: Failures[Header],
        silence: Silence,
        say: Publish,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        self._wire = wire
        self._flights = flights
        self._failures = failures
        self._silence = silence
        self._say = say
        self._tasks = tasks
        self._strange: collections.OrderedDict[str, Header] = collections.OrderedDict()
        self._refused = 0
        self.failed_cookies, self.heard_of = anyio.create_memory_object_stream[tuple[bytes, bytes]](64)
        """Negotiations of this node's that its partner calls abnormal, for whoever ends them."""

    def tell(self, header: Header, reason: str) -> None:
        """Send a partner the message about a negotiation."""
        said = AbnormalInformation(
            version_of(header), header.initiator_cookie, header.responder_cookie, reason
        )
        if self._wire.tell(header.ends, said):
            self._say(SENT, partner=header.ends.partner, reason=reason, **header_said(header))

    def settle(self, dues: Iterable[Due[Header]]) -> None:
        """Do what follows, now that it is known under which cookies a negotiation failed."""
        for side, partner, header in dues:
            if side is Side.SENDER:
                self.tell(header, MENDED)
            elif self._silence.mended(partner):
                self._say(ACCEPTED, partner=partner, reason=MENDED, **header_said(header))

    def tell_again(self, partner: str) -> None:
        """Tell a partner once more that this sender is mended: what was told before may be lost."""
        header = self._failures.told(partner)
        if header is not None:
            self.tell(header, MENDED)

    def catch_up(self) -> None:
        """Take what has arrived by now."""
        self._see_sent()
        self._receive()

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
            if not self._flights.sent(header, now_ns()):
                self._failures.answered(header.ends.partner, header.initiator_cookie)

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
        if flight is None or self._failures.is_settled(None, said.initiator_cookie):
            return False
        self._flights.landed(said.initiator_cookie, now_ns() if not flight.failed else 0, established=False)
        self._say(ACCEPTED, partner=partner, reason=said.reason, **header_said(header))
        newly = self._silence.abnormal(
            partner, Side.SENDER, said.reason, text="abnormal-information message", **header_said(header)
        )
        self.settle(self._failures.failed(partner, Side.SENDER, None, header, newly=newly))
        with contextlib.suppress(anyio.WouldBlock):  # charon forgets it by itself, later
            self.failed_cookies.send_nowait(cookies)
        return True

    def _mended(self, header: Header, said: AbnormalInformation) -> bool:
        """Believe a partner who says that he is mended; whether it is of a negotiation with him."""
        self._see_sent()
        cookies = (said.initiator_cookie, said.responder_cookie)
        dues = self._failures.mended_there(header.ends.partner, *cookies)
        self.settle(dues or [])
        return dues is not None

    async def _tell_refusals(self) -> None:
        await anyio.sleep(REFUSALS_TOGETHER)
        self._say(REFUSED, messages=self._refused)
        self._refused = 0
