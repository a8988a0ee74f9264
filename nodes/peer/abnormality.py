"""Method 2 of a peer, as its agent sees it: the methods ``abnormality.*``, and the guard that runs while it
is on.

A guard that dies is not started again by itself: ``abnormality.guard.died`` says so, charon goes on as stock,
and ``abnormality.configure`` with ``handling: on`` starts another, which takes up what is still inactive
(docs/decisions/0012).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import msgspec

from nodes import errors
from nodes.abnormality.machine import Reason, Side
from nodes.abnormality.model import (
    AbnormalityOptions,
    Activate,
    Activated,
    Configure,
    Configured,
    Handling,
    PartnerState,
    Status,
    canonical,
    require_partner,
)
from nodes.abnormality.timing import Timing
from nodes.control.methods import Handler
from nodes.events import Event
from nodes.peer.guard.child import Child
from nodes.peer.guard.evidence import Evidence, Recogniser
from nodes.peer.guard.guard import CUT
from nodes.peer.guard.orders import Failed, Know, Release, SetTiming, Start, Tell
from nodes.peer.guard.silence import ACTIVE
from nodes.peer.inactivity import Inactivity
from nodes.peer.messages import LogLine
from nodes.peer.model import Connection
from nodes.peer.partners import Partners
from nodes.peer.vici_client import CommandFailed, ViciClient
from nodes.role import Publish

SNAPSHOT = "abnormality.json"
WARNING = "abnormality.warning"
RESUMED = "abnormality.resumed"
STARTED, ENDED, DIED = (f"abnormality.guard.{what}" for what in ("started", "ended", "died"))


class Abnormality:
    """Method 2 beside one charon. Made by :func:`abnormality`.

    Args:
        options: what is in force from the start.
        vici: charon's VICI socket.
        run_dir: where the file for a restarted guard stands.
        publish: puts an event on the stream.
        tasks: follow the guard.
    """

    def __init__(
        self,
        options: AbnormalityOptions,
        vici: Path,
        run_dir: Path,
        publish: Publish,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        self._handling: Handling = "off"
        self._timing = options.timing
        self._timings: dict[str, Timing] = {}
        self._vici_socket = vici
        self._vici = ViciClient(vici)
        self._snapshot = run_dir / SNAPSHOT
        self._publish = publish
        self._tasks = tasks
        self._partners = Partners()
        self._inactivity = Inactivity()
        self._guard: Child | None = None
        self._changing = anyio.Lock()

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by name."""
        return {
            "abnormality.configure": self.configure,
            "abnormality.status": self.status,
            "abnormality.activate": self.activate,
        }

    async def configure(self, asked: Configure) -> Configured:
        """Set what is in force from now on; what is inactive stays so for the time that it was given.

        Raises:
            ParameterError: these are no times, or there is no such partner.
            MachineError: the guard cannot run here.
        """
        async with self._changing:
            if asked.partner is not None:
                require_partner(asked.partner, self._partners.addresses)
            before = self._timing_of(asked.partner)
            try:
                timing = asked.applied_to(before)
            except ValueError as error:
                raise errors.ParameterError(f"abnormality.configure: {error}") from None
            await self._set(timing, asked.partner)
            if asked.handling == "off":
                await self._turn_off()
            elif asked.handling == "on":
                await self.turn_on()
            return Configured(handling=self._handling, timing=timing, warnings=timing.warnings())

    async def status(self) -> Status:
        """What is in force, and what is remembered of each partner."""
        running = self._guard
        states: list[PartnerState] = []
        if running is not None:
            answer = await running.order(lambda id_: Tell(id=id_))
            states = msgspec.convert(answer["partners"], list[PartnerState])
        return Status(
            handling=self._handling,
            running=running is not None,
            pid=running.pid if running is not None else 0,
            timing=self._timing,
            partners=tuple(states),
            warnings=self._timing.warnings(),
        )

    async def activate(self, asked: Activate) -> Activated:
        """Make a partner, or all, active at once, by the operator's word.

        Raises:
            ParameterError: there is no such partner.
        """
        partner = asked.partner
        if partner is not None and not self._inactivity.has(partner := canonical(partner)):
            require_partner(partner, self._partners.addresses)
        if self._guard is None:
            return Activated(activated=0)
        answer = await self._guard.order(lambda id_: Release(id=id_, partner=partner))
        return Activated(activated=answer["activated"])

    # what the peer's other methods say

    async def loaded(self, connection: Connection) -> None:
        """A connection has been loaded: its partner's configuration has changed, and it is active at once."""
        partner = self._partners.load(connection)
        if partner is not None:
            await self._know(partner)

    async def unloaded(self, connection: str) -> None:
        """A connection is there no more."""
        if self._partners.unload(connection):
            await self._know(None)

    def begin(self, connection: str, child: str) -> None:
        """See that a negotiation may be begun, and remember that it was asked for.

        Raises:
            InactiveError: the sender is inactive towards the connection's partner.
        """
        why = self._why_inactive(connection)
        if why is not None:
            raise errors.InactiveError(f"no negotiation is begun: {why}")
        self._partners.asked(connection, child)

    async def failed(self, connection: str, said: Sequence[LogLine]) -> str | None:
        """A negotiation that was asked for failed, with these lines of charon's.

        Returns until when the partner is inactive now, and why; None where it is not.
        """
        partner = self._partners.of(connection)
        if self._guard is None or partner is None:
            return None
        found = _evidence(said)
        try:
            if found is not None and found.side is not Side.RECEIVER:
                reason, text, ike_id = found.reason, found.text, found.ike_id
                await self._guard.order(
                    lambda id_: Failed(id=id_, partner=partner, reason=reason, text=text, ike_id=ike_id)
                )
            else:
                await self._guard.order(lambda id_: Tell(id=id_))
        except errors.NodeError:  # it died: then nothing is inactive
            return None
        return self._why_inactive(connection)

    # the guard

    async def end(self) -> None:
        """End the guard, and say nothing more of it."""
        if self._guard is not None:
            guard, self._guard = self._guard, None
            await guard.end()

    def _timing_of(self, partner: str | None) -> Timing:
        return self._timing if partner is None else self._timings.get(canonical(partner), self._timing)

    async def _set(self, timing: Timing, partner: str | None) -> None:
        if timing == self._timing_of(partner):
            return
        if partner is None:
            self._timing = timing
        else:
            self._timings[canonical(partner)] = timing
        self._warn(timing)
        if self._guard is not None:
            whose = None if partner is None else canonical(partner)
            await self._guard.order(lambda id_: SetTiming(id=id_, timing=timing, partner=whose))

    async def turn_on(self) -> None:
        """Begin, or begin again where a guard has died.

        Raises:
            MachineError: the guard cannot run here.
        """
        if self._guard is None:
            guard = Child(self._heard, self._died)
            start = Start(
                vici=str(self._vici_socket),
                snapshot=str(self._snapshot),
                timing=self._timing,
                timings=self._timings,
                partners=self._partners.addresses,
            )
            await guard.start(start, self._tasks)
            self._guard = guard
            await self._know(None)  # a connection may have been loaded meanwhile
            self._publish(STARTED, pid=guard.pid)
        self._handling = "on"

    async def _turn_off(self) -> None:
        self._handling = "off"
        guard, self._guard = self._guard, None
        if guard is not None:
            await guard.end()
            self._publish(ENDED, pid=guard.pid)
        self._snapshot.unlink(missing_ok=True)
        self._all_active(Reason.HANDLING_OFF)

    async def _know(self, changed: str | None) -> None:
        partners = self._partners.addresses
        self._timings = {one: timing for one, timing in self._timings.items() if one in partners}
        if self._guard is None:
            return
        with contextlib.suppress(errors.NodeError):  # it died: then nothing is inactive
            await self._guard.order(lambda id_: Know(id=id_, partners=partners, changed=changed))

    def _heard(self, said: Event) -> None:
        self._inactivity.heard(said)
        self._publish(said.kind, time_ns=said.time_ns, **said.data)
        if said.kind == CUT and said.data["began"]:
            self._partners.cut(said.data["name"])
        elif said.kind == ACTIVE and said.data["side"] == Side.SENDER:
            for connection, child in self._partners.resumed(said.data["partner"]):
                self._tasks.start_soon(self._initiate, connection, child)

    def _died(self, status: int) -> None:
        guard, self._guard = self._guard, None
        self._publish(DIED, pid=guard.pid if guard else 0, status=status)
        self._all_active(Reason.GUARD_DIED)

    def _all_active(self, reason: Reason) -> None:
        """Nothing holds IKE back any more."""
        for said in self._inactivity.end(reason):
            self._publish(ACTIVE, **said)

    async def _initiate(self, connection: str, child: str) -> None:
        message = {"ike": connection, "child": child, "timeout": "-1"}  # -1: do not wait
        with contextlib.suppress(CommandFailed, errors.DaemonError):
            await self._vici.request("initiate", message)
            self._publish(RESUMED, connection=connection, child=child)

    def _why_inactive(self, connection: str) -> str | None:
        partner = self._partners.of(connection)
        return None if partner is None else self._inactivity.why(partner, time.monotonic_ns())

    def _warn(self, timing: Timing) -> None:
        for text in timing.warnings():
            self._publish(WARNING, text=text)


def _evidence(said: Sequence[LogLine]) -> Evidence | None:
    recogniser = Recogniser()
    return next((found for line in said if (found := recogniser.read(*line)) is not None), None)


@asynccontextmanager
async def abnormality(
    options: AbnormalityOptions, vici: Path, run_dir: Path, publish: Publish
) -> AsyncIterator[Abnormality]:
    """Method 2 beside a charon that runs, for the length of the context.

    Raises:
        MachineError: it was asked for, and the guard cannot run here.
    """
    async with anyio.create_task_group() as tasks:
        beside = Abnormality(options, vici, run_dir, publish, tasks)
        try:
            if options.handling == "on":
                await beside.turn_on()
            yield beside
        finally:
            await beside.end()
