"""A sender that never stops trying: it is told to initiate, again and again."""

from __future__ import annotations

import dataclasses

import anyio

from nodes import errors
from nodes.peer.model import IkeSa, Terminate
from orchestrator.events import EventStream
from orchestrator.peer import TunnelEnd

FAILED = "retry.failed"
SUCCEEDED = "retry.succeeded"
PATIENCE = 3600.0
"""Seconds that one call may take: charon itself decides when a negotiation is over."""


@dataclasses.dataclass
class Retrying:
    """One node that initiates a connection each ``period`` seconds, or as soon as the last try is over.

    A daemon that is still at a try would take another call for the same SA, so there is one at a time.

    Attributes:
        tries: how often it was told to.
        failures: how often it failed, by reason.
        times: of tries that succeeded, in seconds from the call to the installed CHILD_SA.
        succeeded: set once one did.
    """

    peer: TunnelEnd
    node: str
    connection: str
    period: float
    events: EventStream
    tries: int = 0
    failures: dict[str, int] = dataclasses.field(default_factory=dict)
    times: list[float] = dataclasses.field(default_factory=list)
    succeeded: anyio.Event = dataclasses.field(default_factory=anyio.Event)
    _begun: float | None = None

    @property
    def under_way(self) -> float:
        """For how long the try that is under way has been, in seconds; 0 where none is."""
        return 0.0 if self._begun is None else anyio.current_time() - self._begun

    async def run(self) -> None:
        """Try until it succeeds."""
        while not await self.once():
            pass

    async def run_on(self) -> None:
        """Try until cancelled; what succeeded is taken down again before the next try."""
        while True:
            if await self.once(wait=True):
                await self.peer.terminate(Terminate(connection=self.connection, force=True))

    async def once(self, *, wait: bool = False) -> bool:
        """Try once; whether it succeeded. A try that failed, or with ``wait`` any, takes a whole period."""
        begin = self._begun = anyio.current_time()
        done = await self._up()
        if not done and not await self._at_it():
            done = await self._try()
        if done:
            self.times.append(anyio.current_time() - begin)
            self.events.say(SUCCEEDED, node=self.node, connection=self.connection, number=self.tries)
            self.succeeded.set()
        self._begun = None
        if wait or not done:
            await anyio.sleep_until(begin + self.period)
        return done

    async def _try(self) -> bool:
        self.tries += 1
        try:
            await self.peer.initiate(self.connection, timeout=PATIENCE)
        except errors.NegotiationError as error:
            text = str(error)
            self.failures[text] = self.failures.get(text, 0) + 1
            self.events.say(FAILED, node=self.node, connection=self.connection, number=self.tries, text=text)
            return False
        return True

    async def _up(self) -> bool:
        """Whether somebody else, such as the guard, has brought it up meanwhile."""
        return any(child.state == "INSTALLED" for sa in await self._sas() for child in sa.children)

    async def _at_it(self) -> bool:
        """Whether somebody else is negotiating it: the daemon would negotiate another CHILD_SA after that."""
        return any(sa.initiator and sa.state == "CONNECTING" for sa in await self._sas())

    async def _sas(self) -> list[IkeSa]:
        return [sa for sa in await self.peer.list_sas() if sa.name == self.connection]
