"""The ISAKMP SAs of an endpoint: found by their cookies, each with its main mode and its timers. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address

from nodes.ike.context import Context
from nodes.ike.dpd import DeadPeerDetection
from nodes.ike.isakmp_sa import IsakmpSa, State
from nodes.ike.main_mode import MainMode
from nodes.ike.messages.header import NO_COOKIE
from nodes.ike.profile import Profile
from nodes.ike.timers import Timer


@dataclasses.dataclass
class Entry:
    """What belongs to an ISAKMP SA beside itself.

    Attributes:
        mode: the main mode that it came from, or comes from.
        timers: those that end with it.
        dpd: dead peer detection, once it is up and both ends speak it.
        failure: why a main mode as responder failed that is still half open.
    """

    mode: MainMode
    timers: list[Timer] = dataclasses.field(default_factory=list)
    dpd: DeadPeerDetection | None = None
    failure: str = ""


class IsakmpSaTable:
    """All ISAKMP SAs, half-open ones too; iterated oldest first.

    Args:
        context: of the endpoint.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._entries: dict[int, Entry] = {}
        self._sas: dict[tuple[bytes, bytes], IsakmpSa] = {}
        self._firsts: dict[tuple[IPv6Address, bytes], IsakmpSa] = {}
        """Those that a partner initiated, by its address and cookie."""

    def __len__(self) -> int:
        return len(self._sas)

    def __iter__(self) -> Iterator[IsakmpSa]:
        return iter(sorted(self._sas.values(), key=lambda sa: sa.id))

    @property
    def half_open(self) -> int:
        """How many are not up yet."""
        return sum(not sa.established for sa in self._sas.values())

    def find(self, cookies: tuple[bytes, bytes]) -> IsakmpSa | None:
        """The SA with these cookies; one that we initiated has the responder's from its first answer on."""
        return self._sas.get(cookies) or self._sas.get((cookies[0], NO_COOKIE))

    def initiated_by(self, remote: IPv6Address, cookie: bytes) -> IsakmpSa | None:
        """The SA that the partner at this address initiated with this cookie."""
        return self._firsts.get((remote, cookie))

    def established(self, profile: Profile) -> list[IsakmpSa]:
        """Those of a connection that are up, oldest first."""
        found = [sa for sa in self._sas.values() if sa.established and sa.profile.name == profile.name]
        return sorted(found, key=lambda sa: sa.established_at or 0.0)

    def newest(self, profile: Profile) -> IsakmpSa | None:
        """The one that new exchanges go under: it has taken over from those before it."""
        usable = [sa for sa in self.established(profile) if not sa.exhausted]
        return usable[-1] if usable else None

    def entry(self, sa: IsakmpSa) -> Entry:
        """What belongs to an SA that is here.

        Raises:
            KeyError: it was removed.
        """
        return self._entries[sa.id]

    def get(self, sa: IsakmpSa) -> Entry | None:
        """What belongs to an SA; None: it was removed."""
        return self._entries.get(sa.id)

    def add(self, sa: IsakmpSa, mode: MainMode) -> Entry:
        """Take an SA whose main mode begins."""
        entry = self._entries[sa.id] = Entry(mode)
        self._sas[sa.cookies] = sa
        if not sa.initiator:
            self._firsts[sa.path.remote, sa.cookies[0]] = sa
        return entry

    def renamed(self, sa: IsakmpSa, before: tuple[bytes, bytes]) -> None:
        """An SA had these cookies before: the responder's has come."""
        if sa.cookies != before and self._sas.pop(before, None) is not None:
            self._sas[sa.cookies] = sa

    def at(self, sa: IsakmpSa, when: float, action: Callable[[], None]) -> None:
        """Do something at a time, unless the SA is gone by then."""
        entry = self._entries[sa.id]
        entry.timers = [timer for timer in entry.timers if timer.pending]
        entry.timers.append(self._context.timers.at(when, action))

    def remove(self, sa: IsakmpSa) -> None:
        """End an SA with all that belongs to it; one that was removed is nothing to this."""
        entry = self._entries.pop(sa.id, None)
        if entry is None:
            return
        entry.mode.cancel()
        for timer in entry.timers:
            timer.cancel()
        if entry.dpd is not None:
            entry.dpd.stop()
        sa.state = State.DELETED
        for cookies in (sa.cookies, (sa.cookies[0], NO_COOKIE)):
            if self._sas.get(cookies) is sa:
                del self._sas[cookies]
        first = (sa.path.remote, sa.cookies[0])
        if self._firsts.get(first) is sa:
            del self._firsts[first]
