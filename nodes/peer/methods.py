"""The peer's methods on the control channel: what is asked of charon, in the field's terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio

from nodes import errors
from nodes.control.methods import Handler
from nodes.peer.abnormality import Abnormality
from nodes.peer.charon import Charon
from nodes.peer.connections import Connections
from nodes.peer.dataplane import Choice
from nodes.peer.messages import (
    LogLine,
    initiate_message,
    listed_connections,
    listed_sas,
    log_line,
    selector_message,
    target_message,
)
from nodes.peer.model import (
    Connection,
    Counters,
    IkeSa,
    Initiate,
    Initiated,
    Loaded,
    LoadedConnection,
    Rekey,
    Rekeyed,
    SaSelector,
    Status,
    Terminate,
    Terminated,
    Unload,
)
from nodes.peer.negotiation import failure
from nodes.peer.news import News
from nodes.peer.rekeying import KINDS, Failed, Target
from nodes.peer.vici_client import CommandFailed, ViciClient

NEWS_TIMEOUT = 5.0
"""Seconds that the event of an SA may follow charon's answer; where the SA was there already, none comes."""


class PeerMethods:
    """Answers the calls to a peer.

    Args:
        charon: the daemon.
        vici: its VICI.
        news: its SA events.
        connections: what is loaded.
        abnormality: method 2: whether a negotiation may be begun.
        dataplane: what carries ESP, and why.
        inner: the interface of the inner address, and why it is this one.
    """

    def __init__(
        self,
        *,
        charon: Charon,
        vici: ViciClient,
        news: News,
        connections: Connections,
        abnormality: Abnormality,
        dataplane: Choice,
        inner: tuple[str, str],
    ) -> None:
        self._charon = charon
        self._vici = vici
        self._news = news
        self._connections = connections
        self._abnormality = abnormality
        self._dataplane = dataplane
        self._inner = inner

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by name."""
        return {
            "peer.status": self.status,
            "peer.load": self.load,
            "peer.unload": self.unload,
            "peer.initiate": self.initiate,
            "peer.rekey": self.rekey,
            "peer.terminate": self.terminate,
            "peer.list_sas": self.list_sas,
            "peer.list_conns": self.list_conns,
            "peer.counters": self.counters,
        }

    async def status(self) -> Status:
        """What runs here, and how it is."""
        version = await self._vici.request("version")
        stats = await self._vici.request("stats")
        interface, reason = self._inner
        return Status(
            version=version["version"],
            dataplane=self._dataplane.dataplane,
            dataplane_reason=self._dataplane.reason,
            inner_interface=interface,
            inner_reason=reason,
            plugins=tuple(stats["plugins"]),
            pid=self._charon.pid,
            uptime=self._charon.uptime,
            ready_ms=self._charon.ready_ms,
            memory=self._charon.memory,
            ike_sas=int(stats["ikesas"]["total"]),
            half_open=int(stats["ikesas"]["half-open"]),
        )

    async def load(self, connection: Connection) -> Loaded:
        """Load a connection, or replace the one of its name."""
        loaded = await self._connections.load(connection)
        await self._abnormality.loaded(connection)
        return loaded

    async def unload(self, request: Unload) -> None:
        """Unload a connection; its SAs stay."""
        await self._connections.unload(request.name)
        await self._abnormality.unloaded(request.name)

    async def initiate(self, request: Initiate) -> Initiated:
        """Negotiate a CHILD_SA, with an IKE SA where there is none, and wait until it is installed.

        Raises:
            ParameterError: no such connection or child.
            InactiveError: the sender is inactive towards the partner; nothing was begun.
            NegotiationError: it did not come to it; the text has charon's reason.
        """
        child = self._connections.child_of(request.connection, request.child)
        self._abnormality.begin(request.connection, child)
        said: list[LogLine] = []
        with self._news.reader("child-sa.installed") as news:
            try:
                await self._vici.request(
                    "initiate",
                    initiate_message(request, child),
                    streamed="control-log",
                    on_item=lambda item: said.append(log_line(item)),
                )
            except CommandFailed as error:
                why = failure(str(error), [line.text for line in said])
                inactive = await self._abnormality.failed(request.connection, said)
                raise errors.NegotiationError(why if inactive is None else f"{why}; {inactive}") from None
            with anyio.move_on_after(NEWS_TIMEOUT):
                async for _kind, data in news:
                    if (data["ike"], data["name"]) == (request.connection, child):
                        return await self._initiated(data["ike_id"], data["unique_id"])
        there = await self._meant(SaSelector(connection=request.connection, child=child))
        return await self._initiated(there.ike.unique_id, there.child.unique_id if there.child else 0)

    async def _initiated(self, ike_id: int, child_id: int) -> Initiated:
        for ike in await self._sas({"ike-id": ike_id, "child-id": child_id}):
            for child in ike.children:
                return Initiated(ike=_without_children(ike), child=child)
        raise errors.NegotiationError(f"CHILD_SA #{child_id} was installed, and is gone again")

    async def rekey(self, request: Rekey) -> Rekeyed:
        """Rekey an SA, and wait until the new one is in place on this side.

        An IKEv1 IKE SA cannot be rekeyed: charon negotiates a new one, which takes over the children.

        Raises:
            ParameterError: no such SA.
            NegotiationError: it did not come to it; the text has charon's reason.
        """
        target = await self._meant(request)
        said: list[str] = []
        outcome = "did not end in time"
        with self._news.reader(*KINDS) as news, anyio.move_on_after(request.timeout):
            try:
                await self._vici.request("rekey", target_message(*target))
            except CommandFailed as error:
                raise errors.NegotiationError(f"rekeying {target}: {error}") from None
            async for kind, data in news:
                match target.read(kind, data):
                    case Rekeyed() as rekeyed:
                        return rekeyed
                    case Failed():
                        outcome = "failed"
                        break
                    case str() as line:
                        said.append(line)
        raise errors.NegotiationError(failure(f"rekeying {target} {outcome}", said))

    async def _meant(self, selector: SaSelector) -> Target:
        """The newest SA that a selector fits."""
        sas = await self._sas(selector_message(selector))
        if selector.of_child:
            targets = [Target(sa, child) for sa in sas for child in sa.children if child.state == "INSTALLED"]
        else:
            targets = [Target(sa, None) for sa in sas if sa.state == "ESTABLISHED"]
        if not targets:
            raise errors.ParameterError(f"no SA is up that fits {_said(selector)}")
        return max(targets, key=lambda one: (one.child or one.ike).unique_id)

    async def terminate(self, request: Terminate) -> Terminated:
        """Delete SAs and wait until they are gone.

        Raises:
            ParameterError: no SA fits.
            NegotiationError: not all went in time; with ``force`` they are gone all the same.
        """
        selector = selector_message(request)
        if not any(ike.children or not request.of_child for ike in await self._sas(selector)):
            raise errors.ParameterError(f"no SA fits {_said(request)}")
        said: list[str] = []
        message = selector | {
            "force": "yes" if request.force else "no",
            "timeout": round(request.timeout * 1000),
            "loglevel": 1,
        }
        try:
            answer = await self._vici.request(
                "terminate", message, streamed="control-log", on_item=lambda item: said.append(item["msg"])
            )
        except CommandFailed as error:
            raise errors.NegotiationError(failure(f"{_said(request)}: {error}", said)) from None
        return Terminated(terminated=int(answer.get("terminated", 0)))

    async def list_sas(self) -> tuple[IkeSa, ...]:
        """The IKE SAs, half-open ones too, each with its CHILD_SAs."""
        return tuple(await self._sas({}))

    async def list_conns(self) -> tuple[LoadedConnection, ...]:
        """The connections that charon has."""
        messages = await self._vici.items("list-conns", "list-conn")
        return tuple(one for message in messages for one in listed_connections(message))

    async def counters(self) -> Counters:
        """Charon's counters since its start."""
        answer = await self._vici.request("get-counters")
        return Counters(counters={key: int(value) for key, value in answer["counters"].get("", {}).items()})

    async def _sas(self, selector: Mapping[str, Any]) -> list[IkeSa]:
        messages = await self._vici.items("list-sas", "list-sa", selector)
        return [sa for message in messages for sa in listed_sas(message)]


def _without_children(sa: IkeSa) -> IkeSa:
    return IkeSa(**{field: getattr(sa, field) for field in sa.__struct_fields__ if field != "children"})


def _said(selector: SaSelector) -> str:
    return ", ".join(f"{key} {value}" for key, value in selector_message(selector).items())
