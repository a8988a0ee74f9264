"""The guard at work: what charon says, judged, and what follows for its IKE SAs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import anyio
import anyio.abc
from anyio.streams.memory import MemoryObjectReceiveStream

from nodes.abnormality.failures import Failures
from nodes.abnormality.machine import Change, Machine, Reason, Side
from nodes.abnormality.message import HEAD_START
from nodes.abnormality.model import PartnerState
from nodes.peer.guard.correspondence import Correspondence
from nodes.peer.guard.evidence import Evidence, Recogniser
from nodes.peer.guard.nft import Nft
from nodes.peer.guard.orders import Failed
from nodes.peer.guard.sightings import Flights, Sighting, Sightings
from nodes.peer.guard.silence import Silence, now_ns
from nodes.peer.guard.told import header_said, sa_said
from nodes.peer.guard.wire import Header, Wire
from nodes.peer.messages import Message, ike_sa, listed_sas, log_line, sections
from nodes.peer.model import IkeSa
from nodes.peer.vici_client import CommandFailed, ViciClient, ViciEvent
from nodes.role import Publish

CUT = "abnormality.cut"
EVENTS = ("log", "ike-updown", "ike-rekey", "child-updown", "child-rekey")
SETTLING = 0.3
"""Seconds after which the CHILD_SAs are looked for once more: IKEv1 hands them over to a new IKE SA in
silence."""
PATIENCE = 1.0
"""Seconds that a line about packets, which VICI may deliver late, has to say whose negotiation it was."""
_BEGINS = re.compile(r"initiating .*IKE_SA .*\[(?P<ike_id>\d+)\] to ")
"""The line may be about another IKE SA: the one that this one takes the place of."""
_SENT_AGAIN = re.compile(r"(sending )?retransmit \d+ of re(quest|sponse)")
_DELETED = re.compile(r"received DELETE for IKE_SA ")
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
        tasks: what the guard does.
    """

    def __init__(
        self,
        vici: ViciClient,
        nft: Nft,
        wire: Wire,
        machine: Machine,
        saved: Path,
        say: Publish,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        self._vici = vici
        self._say = say
        self._tasks = tasks
        self._recogniser = Recogniser()
        self._sightings = Sightings()
        self._flights = Flights()
        self._failures: Failures[Header] = Failures()
        self._silence = Silence(machine, nft, saved, say, tasks)
        self._letters = Correspondence(wire, self._flights, self._failures, self._silence, say, tasks)
        self._seen = anyio.Event()
        self._look = anyio.Event()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Guard until cancelled; it is started once nothing is missed any more.

        Raises:
            DaemonError: charon ended.
        """
        async with self._vici.listen(EVENTS) as events:
            self._silence.take_up()
            sas = await self._look_at_sas()
            self._silence.began(sa.initiator_spi for sa in sas if sa.initiator and not sa.children)
            self._tasks.start_soon(self._letters.watch_sent)
            self._tasks.start_soon(self._letters.watch_received)
            self._tasks.start_soon(self._silence.watch_time)
            self._tasks.start_soon(self._watch_sas)
            self._tasks.start_soon(self._end_failed, self._letters.heard_of)
            task_status.started()
            async for event in events:
                self._heard(event)

    # what the agent asks for

    async def know(self, partners: Iterable[str], changed: str | None) -> None:
        """Take these addresses for the partners; the configuration of ``changed`` has just changed."""
        self._silence.know(partners)
        if changed is not None:
            await self._tell_mended(self._silence.activate(changed, Reason.CONFIGURED))

    async def release(self, partner: str | None) -> int:
        """Make a partner, or all, active by the operator's word; returns how many sides became so."""
        changes = self._silence.activate(partner, Reason.OPERATOR)
        await self._tell_mended(changes)
        return len(changes)

    def failed(self, told: Failed) -> None:
        """A negotiation that this node began with a partner has failed; charon's log may not say so yet."""
        sighting = self._sightings.of(told.ike_id)
        evidence = Evidence(told.reason, Side.SENDER, True, told.text, told.ike_id)
        header = None if sighting is None else sighting.header
        if self._judge(told.partner, Side.SENDER, evidence, header) and told.ike_id is not None:
            self._failures.ahead(told.partner, told.ike_id)

    def catch_up(self) -> None:
        """Take what has come from the partners by now."""
        self._letters.catch_up()

    def states(self) -> list[PartnerState]:
        """What is remembered."""
        return self._silence.states()

    async def _tell_mended(self, changes: list[Change]) -> None:
        told = False
        for change in changes:
            if change.side is Side.RECEIVER:
                self._failures.settle(change.partner, change.side)
                continue
            dues = self._failures.mended_here(change.partner)
            self._letters.settle(dues)
            told = told or bool(dues) or await self._identified(change.partner)
        if told:
            await anyio.sleep(HEAD_START)

    async def _identified(self, partner: str) -> bool:
        """Wait until this sender has told that it is mended; whether it had to, and could."""
        if not self._failures.owes(partner):
            return False
        with anyio.move_on_after(PATIENCE):
            while self._failures.owes(partner):
                await self._sighted()
        return not self._failures.owes(partner)

    # what charon says

    def _heard(self, event: ViciEvent) -> None:
        if event.name == "log":
            self._read(event.message)
            return
        if event.name in ("ike-updown", "child-updown"):
            for name, section in sections(event.message):
                self._up_or_down(ike_sa(name, section), event.name, up="up" in event.message)
        self._look.set()

    def _up_or_down(self, sa: IkeSa, event: str, *, up: bool) -> None:
        self._sight(sa)
        if event == "ike-updown":
            if sa.initiator:
                self._silence.let_begin(sa.remote_address)
                self._flights.landed(bytes.fromhex(sa.initiator_spi), now_ns(), established=up)
        elif up and not self._failures.is_older(sa.remote_address, sa.unique_id):
            self._failures.succeeded(sa.remote_address)
            self._silence.succeeded(sa.remote_address)

    def _read(self, message: Message) -> None:
        text, ike_id = log_line(message)
        if ike_id is not None:
            self._sightings.read(text, ike_id)
            self._seen.set()
        evidence = self._recogniser.read(text, ike_id)
        if evidence is not None:
            if evidence.ike_id is None:
                self._strange(evidence)
            else:
                told = evidence.side is not Side.RECEIVER and self._failures.heard(evidence.ike_id)
                self._tasks.start_soon(self._abnormal, evidence, evidence.ike_id, told)
        elif begins := _BEGINS.match(text):
            self._tasks.start_soon(self._begun, int(begins["ike_id"]))
        elif ike_id is not None and _SENT_AGAIN.match(text):
            self._hold_back(ike_id)
        elif ike_id is not None and _DELETED.match(text):
            self._deleted(text, ike_id)

    def _hold_back(self, ike_id: int) -> None:
        """A negotiation that this node began is not answered."""
        sighting = self._sightings.of(ike_id)
        if sighting is None or sighting.header is None or not sighting.began:
            return
        if self._flights.in_flight(sighting.header.initiator_cookie) and _is_address(sighting.ends.partner):
            self._silence.hold_back(sighting.ends.partner)
            self._letters.tell_again(sighting.ends.partner)

    def _deleted(self, text: str, ike_id: int) -> None:
        """The partner gives up an IKE SA, and charon would begin anew at once for the CHILD_SA it waits for.

        Such a partner has refused it, but the notify, which nobody acknowledges, was lost or overtaken.
        """
        sighting = self._sightings.of(ike_id)
        if sighting is None or not sighting.awaits_child or not _is_address(sighting.ends.partner):
            return
        partner, header = sighting.ends.partner, sighting.header
        if self._silence.is_inactive(partner, Side.SENDER):
            return  # the notify was heard
        if not self._failures.is_settled(ike_id, None if header is None else header.initiator_cookie):
            self._judge(partner, Side.SENDER, Evidence("refused", None, True, text, ike_id), header)

    def _sight(self, sa: IkeSa) -> Sighting:
        sighting = self._sightings.told(sa)
        if sighting.header is not None:
            self._letters.settle(self._failures.identified(sa.unique_id, sighting.header))
        self._seen.set()
        return sighting

    def _strange(self, evidence: Evidence) -> None:
        """A message of which charon could not read so much as the header."""
        partner = evidence.partner
        if partner is None or not _is_address(partner):
            return
        header = self._letters.strange_header(partner)
        if header is not None and self._flights.has(header.initiator_cookie):
            return  # an answer to a negotiation of our own
        if header is not None and self._failures.is_settled(None, header.initiator_cookie):
            return  # it was repeated, or came late
        newly = self._judge(partner, Side.RECEIVER, evidence, header)
        if newly and header is not None and partner in self._silence.partners:
            self._letters.tell(header, evidence.reason)

    def _judge(
        self,
        partner: str,
        side: Side,
        evidence: Evidence,
        header: Header | None,
        until: anyio.Event | None = None,
    ) -> bool:
        """Hold a failed negotiation against the partner; whether the side was active until now."""
        about = {} if header is None else header_said(header)
        newly = self._silence.abnormal(
            partner, side, evidence.reason, until=until, text=evidence.text, **about
        )
        self._letters.settle(self._failures.failed(partner, side, evidence.ike_id, header, newly=newly))
        return newly

    async def _abnormal(self, evidence: Evidence, ike_id: int, told: bool) -> None:
        """Charon's log has evidence of a failure; the agent may have ``told`` of it before."""
        sighting = self._sightings.of(ike_id)
        if sighting is None:
            sighting = await self._patiently(ike_id)
        if sighting is None or not _is_address(sighting.ends.partner):
            return
        partner, header = sighting.ends.partner, sighting.header
        side = evidence.side or (Side.SENDER if sighting.began else Side.RECEIVER)
        ended = anyio.Event()
        settled = self._failures.is_settled(ike_id, None if header is None else header.initiator_cookie)
        if not (settled or told):
            self._judge(partner, side, evidence, header, ended)
        for sa in await self._sas({"ike-id": str(ike_id)}):
            header = self._sight(sa).header
            if sa.children:  # it carries a tunnel, which has nothing to do with it
                if settled and not told:
                    self._judge(partner, side, evidence, header, ended)
                continue
            if header is not None and side is Side.RECEIVER and not (evidence.readable or settled):
                self._letters.tell(header, evidence.reason)
            await self._cut(sa)
        ended.set()

    async def _patiently(self, ike_id: int) -> Sighting | None:
        """What is seen of an IKE SA once VICI has delivered what charon said before."""
        with anyio.move_on_after(PATIENCE):
            for sa in await self._sas({"ike-id": str(ike_id)}):
                return self._sight(sa)
            while (sighting := self._sightings.of(ike_id)) is None:
                await self._sighted()
            return sighting
        return None

    async def _sighted(self) -> None:
        """Wait until more is seen of any IKE SA."""
        if self._seen.is_set():  # others may wait for the same
            self._seen = anyio.Event()
        await self._seen.wait()

    async def _begun(self, ike_id: int) -> None:
        """Charon has just begun a negotiation; one with an inactive partner ends here."""
        for sa in await self._sas({"ike-id": str(ike_id)}):
            self._sight(sa)
            if sa.children or not sa.initiator:
                continue
            self._flights.began(sa, now_ns())
            if self._silence.is_inactive(sa.remote_address, Side.SENDER):
                await self._cut(sa)

    async def _end_failed(self, cookies: MemoryObjectReceiveStream[tuple[bytes, bytes]]) -> None:
        async for initiator, responder in cookies:
            for sa in await self._sas({}):
                if (sa.initiator_spi, sa.responder_spi) == (
                    initiator.hex(),
                    responder.hex(),
                ) and not sa.children:
                    await self._cut(sa)

    async def _cut(self, sa: IkeSa) -> None:
        try:
            await self._vici.request("terminate", {"ike-id": str(sa.unique_id), **_FORCED})
        except CommandFailed:  # it went by itself
            return
        self._flights.landed(bytes.fromhex(sa.initiator_spi), now_ns(), established=False)
        self._say(
            CUT, partner=sa.remote_address, name=sa.name, began=sa.initiator, state=sa.state, **sa_said(sa)
        )

    # which IKE SAs carry a tunnel

    async def _watch_sas(self) -> None:
        while True:
            await self._look.wait()
            self._look = anyio.Event()
            await self._look_at_sas()
            with anyio.move_on_after(SETTLING):
                await self._look.wait()
                continue
            await self._look_at_sas()

    async def _look_at_sas(self) -> list[IkeSa]:
        sas = await self._sas({})
        self._silence.carry(frozenset(sa.initiator_spi for sa in sas if sa.children))
        return sas

    async def _sas(self, selector: Mapping[str, str]) -> list[IkeSa]:
        messages = await self._vici.items("list-sas", "list-sa", selector)
        return [sa for message in messages for sa in listed_sas(message)]


def _is_address(text: str) -> bool:
    """Whether the filter can name it: an IPv6 address, without a scope."""
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False
