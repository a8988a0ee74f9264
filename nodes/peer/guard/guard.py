"""The guard at work: evidence in, and in the kernel's filter, in charon and on the wire what follows from
it."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel

from nodes.abnormality.machine import Change, Machine, Reason, Side
from nodes.abnormality.message import AbnormalInformation, parse
from nodes.abnormality.model import PartnerState
from nodes.peer.guard import filter as words
from nodes.peer.guard import snapshot
from nodes.peer.guard.evidence import Evidence, Recogniser
from nodes.peer.guard.nft import Nft
from nodes.peer.guard.sightings import Flights, Sightings
from nodes.peer.guard.told import change_said, header_of, header_said, sa_said, state, version_of
from nodes.peer.guard.wire import Header, Wire
from nodes.peer.messages import Message, ike_sa, listed_sas, sections
from nodes.peer.model import IkeSa
from nodes.peer.vici_client import CommandFailed, ViciClient, ViciEvent
from nodes.role import Publish

INACTIVE, ACTIVE = "abnormality.inactive", "abnormality.active"
SENT, ACCEPTED, REFUSED = (f"abnormality.message.{what}" for what in ("sent", "accepted", "refused"))
CUT = "abnormality.cut"
EVENTS = ("log", "ike-updown", "ike-rekey", "child-updown", "child-rekey")

LATE = 0.02
"""Seconds from the evidence until the partner's other messages are dropped: charon's own notify gets out."""
SETTLING = 0.3
"""Seconds after which the CHILD_SAs are looked for once more: IKEv1 hands them over to a new IKE SA in
silence."""
REFUSALS_TOGETHER = 1.0
"""Seconds of which the refused messages are told together."""
MOST_STRANGE = 64
_NS_PER_MS = 1_000_000
_FORCED: Mapping[str, str] = {"force": "yes", "timeout": "1000"}


class Guard:
    """The guard of one charon.

    Args:
        vici: charon's VICI.
        nft: where the table is, put in already.
        wire: the sockets.
        machine: the states.
        saved: the file for a restarted guard.
        say: puts an event on the stream.
    """

    def __init__(
        self, vici: ViciClient, nft: Nft, wire: Wire, machine: Machine, saved: Path, say: Publish
    ) -> None:
        self._vici = vici
        self._nft = nft
        self._wire = wire
        self._machine = machine
        self._saved = saved
        self._say = say
        self._recogniser = Recogniser()
        self._sightings = Sightings()
        self._flights = Flights()
        self._strange: collections.OrderedDict[str, Header] = collections.OrderedDict()
        self._carrying: frozenset[str] | None = None
        self._refused = 0
        self._rescheduled = anyio.Event()
        self._look = anyio.Event()
        self._tasks: anyio.abc.TaskGroup

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Guard until cancelled; it is started once nothing is missed any more.

        Raises:
            DaemonError: charon ended.
        """
        async with self._vici.listen(EVENTS) as events, anyio.create_task_group() as self._tasks:
            self._take_up()
            await self._look_at_sas(begin=True)
            for task in (self._watch_sent, self._watch_received, self._watch_time, self._watch_sas):
                self._tasks.start_soon(task)
            task_status.started()
            async for event in events:
                self._heard(event)

    # what the agent asks for

    def know(self, partners: Iterable[str], changed: str | None) -> None:
        """Take these addresses for the partners; the configuration of ``changed`` has just changed."""
        self._machine.know(partners)
        self._nft.run(words.know(self._machine.known))
        if changed is not None:
            self._apply(self._machine.activate(changed, Reason.CONFIGURED, _now()))

    def release(self, partner: str | None) -> int:
        """Make a partner, or all, active by the operator's word; returns how many sides became so."""
        changes = self._machine.activate(partner, Reason.OPERATOR, _now())
        self._apply(changes)
        return len(changes)

    def failed(self, partner: str, reason: str, text: str) -> None:
        """A negotiation that this node began with a partner has failed."""
        self._apply(self._machine.abnormal(partner, Side.SENDER, reason, _now()), text=text)

    def states(self) -> list[PartnerState]:
        """What is remembered."""
        now = _now()
        return [state(record, now) for record in self._machine.records()]

    # what charon says

    def _heard(self, event: ViciEvent) -> None:
        if event.name == "log":
            self._read(event.message)
            return
        if event.name in ("ike-updown", "child-updown"):
            up = "up" in event.message
            for name, section in sections(event.message):
                sa = ike_sa(name, section)
                if event.name == "ike-updown":
                    self._flights.landed(bytes.fromhex(sa.initiator_spi))
                elif up:
                    self._apply(self._machine.succeeded(sa.remote_address, _now()))
        self._look.set()

    def _read(self, message: Message) -> None:
        text = message["msg"]
        ike_id = int(message["ikesa-uniqueid"]) if "ikesa-uniqueid" in message else None
        if ike_id is not None:
            self._sightings.read(text, ike_id)
        evidence = self._recogniser.read(text, ike_id)
        if evidence is not None:
            self._abnormal(evidence)
        elif ike_id is not None and text.startswith("initiating "):
            self._tasks.start_soon(self._cut_if_inactive, ike_id)

    def _abnormal(self, evidence: Evidence) -> None:
        sighting = self._sightings.of(evidence.ike_id)
        partner = evidence.partner or (sighting.ends.partner if sighting else None)
        side = evidence.side or (Side.SENDER if sighting and sighting.began else Side.RECEIVER)
        if partner is None:
            return
        strange = None
        if evidence.ike_id is None:
            self._receive()  # the packet itself may wait there still
            strange = self._strange.pop(partner, None)
            if strange is not None and self._flights.has(strange.initiator_cookie):
                return  # what could not be read is an answer to our own
        changes = self._machine.abnormal(partner, side, evidence.reason, _now())
        about = {"text": evidence.text}
        if strange is not None:
            about |= header_said(strange)
        self._apply(changes, **about)
        if strange is not None and changes and partner in self._machine.known:
            self._tell(strange, evidence.reason)
        if evidence.ike_id is not None:
            self._tasks.start_soon(self._end, evidence, side)

    async def _end(self, evidence: Evidence, side: Side) -> None:
        """Tell the sender of an abnormal negotiation where charon could not, and let charon forget it."""
        for sa in await self._sas({"ike-id": str(evidence.ike_id)}):
            if sa.children:
                return  # it carries a tunnel, which has nothing to do with it
            if side is Side.RECEIVER and not evidence.readable:
                self._tell(header_of(sa), evidence.reason)
            await self._cut(sa)

    async def _cut_if_inactive(self, ike_id: int) -> None:
        """End a negotiation that charon has just begun with a partner towards whom the sender is inactive."""
        for sa in await self._sas({"ike-id": str(ike_id)}):
            if not sa.children and self._machine.is_inactive(sa.remote_address, Side.SENDER, _now()):
                await self._cut(sa)

    async def _cut(self, sa: IkeSa) -> None:
        try:
            await self._vici.request("terminate", {"ike-id": str(sa.unique_id), **_FORCED})
        except CommandFailed:  # it went by itself
            return
        self._say(CUT, partner=sa.remote_address, **sa_said(sa), state=sa.state)

    # what is on the wire

    def _tell(self, header: Header, reason: str) -> None:
        version = version_of(header)
        said = AbnormalInformation(version, header.initiator_cookie, header.responder_cookie, reason)
        if self._wire.tell(header.ends, said):
            self._say(SENT, partner=header.ends.partner, reason=reason, **header_said(header))

    async def _watch_sent(self) -> None:
        while True:
            await anyio.wait_readable(self._wire.outgoing)
            for header in self._wire.sent():
                self._flights.sent(header, _now())

    async def _watch_received(self) -> None:
        while True:
            await anyio.wait_readable(self._wire.incoming)
            self._receive()
            await anyio.lowlevel.checkpoint()  # a flood leaves the others their turn

    def _receive(self) -> None:
        for header in self._wire.received():
            said = parse(header.octets)
            if said is not None:
                self._received(header, said)
            else:
                self._strange.pop(header.ends.partner, None)
                self._strange[header.ends.partner] = header
                if len(self._strange) > MOST_STRANGE:
                    self._strange.popitem(last=False)

    def _received(self, header: Header, said: AbnormalInformation) -> None:
        """An abnormal-information message: believed only for a negotiation in flight, with exactly its
        cookies."""
        for sent in self._wire.sent():
            self._flights.sent(sent, _now())
        cookies = (said.initiator_cookie, said.responder_cookie)
        partner = header.ends.partner
        if self._flights.find(partner, *cookies, _now()) is None:
            self._refused += 1
            if self._refused == 1:
                self._tasks.start_soon(self._tell_refusals)
            return
        self._flights.landed(said.initiator_cookie)
        self._say(ACCEPTED, partner=partner, reason=said.reason, **header_said(header))
        changes = self._machine.abnormal(partner, Side.SENDER, said.reason, _now())
        self._apply(changes, text="abnormal-information message", **header_said(header))
        self._tasks.start_soon(self._cut_by_cookies, *cookies)

    async def _cut_by_cookies(self, initiator: bytes, responder: bytes) -> None:
        for sa in await self._sas({}):
            if (sa.initiator_spi, sa.responder_spi) == (initiator.hex(), responder.hex()) and not sa.children:
                await self._cut(sa)

    async def _tell_refusals(self) -> None:
        await anyio.sleep(REFUSALS_TOGETHER)
        self._say(REFUSED, messages=self._refused)
        self._refused = 0

    # what follows

    def _take_up(self) -> None:
        changes = self._machine.restore(snapshot.load(self._saved), _now())
        self._nft.run(words.know(self._machine.known))
        self._apply(changes)

    def _apply(self, changes: list[Change], **about: Any) -> None:
        """Put changes into effect, and say them. New negotiations are refused at once, all the rest
        :data:`LATE`."""
        for change in changes:
            self._say(ACTIVE if change.active else INACTIVE, **change_said(change) | about)
            if change.active:
                self._nft.run(words.open_(change.side, change.partner))
                continue
            self._nft.run(words.shut("closed", change.side, change.partner, change.for_ns // _NS_PER_MS))
            if change.reason == Reason.RESTORED:
                self._mute(change)
            else:
                self._tasks.start_soon(self._mute_late, change)
        if changes:
            snapshot.save(self._saved, self._machine.snapshot())
            self._rescheduled.set()

    async def _mute_late(self, change: Change) -> None:
        await anyio.sleep(LATE)
        self._mute(change)

    def _mute(self, change: Change) -> None:
        now = _now()
        if self._machine.is_inactive(change.partner, change.side, now):
            left = (change.until_ns - now) // _NS_PER_MS
            self._nft.run(words.shut("inactive", change.side, change.partner, left))

    async def _watch_time(self) -> None:
        while True:
            self._rescheduled = anyio.Event()
            due = self._machine.next_due_ns
            wait = None if due is None else max(0.0, (due - _now()) / 1e9)
            with anyio.move_on_after(wait):
                await self._rescheduled.wait()
            self._apply(self._machine.due(_now()))

    async def _watch_sas(self) -> None:
        while True:
            await self._look.wait()
            self._look = anyio.Event()
            await self._look_at_sas()
            with anyio.move_on_after(SETTLING):
                await self._look.wait()
                continue
            await self._look_at_sas()

    async def _look_at_sas(self, *, begin: bool = False) -> None:
        """Let the IKE SAs that carry a tunnel pass whatever comes."""
        sas = await self._sas({})
        carrying = frozenset(sa.initiator_spi for sa in sas if sa.children)
        if carrying != self._carrying:
            self._nft.run(words.carry(sorted(carrying)[: words.MOST]))
            self._carrying = carrying
        if begin:
            self._nft.run(words.began(sa.initiator_spi for sa in sas if sa.initiator and not sa.children))

    async def _sas(self, selector: Mapping[str, str]) -> list[IkeSa]:
        messages = await self._vici.items("list-sas", "list-sa", selector)
        return [sa for message in messages for sa in listed_sas(message)]


def _now() -> int:
    return time.monotonic_ns()
