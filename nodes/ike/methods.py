"""The endpoint's methods on the control channel, in the terms of a peer's (:mod:`nodes.peer.methods`)."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import msgspec

from nodes import errors
from nodes.control.methods import Handler
from nodes.ike.abnormality_methods import AbnormalityMethods
from nodes.ike.driver import Driver
from nodes.ike.endpoint import Endpoint
from nodes.ike.ipsec_sa import IpsecSa, PairState
from nodes.ike.isakmp_sa import IsakmpSa
from nodes.ike.model import IkeConnection, Status
from nodes.ike.profile import Profile, profile
from nodes.peer.model import (
    IkeSa,
    Initiate,
    Initiated,
    Loaded,
    Rekey,
    Rekeyed,
    SaSelector,
    Terminate,
    Terminated,
    Unload,
)


class IkeMethods:
    """Answers the calls to an endpoint.

    Args:
        driver: of the endpoint's core.
        abnormality: method 2: whether a negotiation may be begun.
    """

    def __init__(self, driver: Driver, abnormality: AbnormalityMethods) -> None:
        self._driver = driver
        self._abnormality = abnormality
        self._started = time.monotonic()

    @property
    def _endpoint(self) -> Endpoint:
        return self._driver.endpoint

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by name."""
        return {
            "ike.status": self.status,
            "ike.load": self.load,
            "ike.unload": self.unload,
            "ike.initiate": self.initiate,
            "ike.rekey": self.rekey,
            "ike.terminate": self.terminate,
            "ike.sas": self.sas,
        }

    async def status(self) -> Status:
        """How the endpoint fares."""
        endpoint, options = self._endpoint, self._endpoint.context.options
        return Status(
            dataplane=self._driver.plane.name,
            dataplane_reason=self._driver.plane.reason,
            timing=options.timing,
            esp_trigger=options.esp_trigger,
            pid=os.getpid(),
            uptime=time.monotonic() - self._started,
            memory=_resident(),
            ike_sas=len(endpoint.phase1.sas),
            half_open=endpoint.phase1.sas.half_open,
            ipsec_sas=len(endpoint.lifecycle.pairs),
            rejected=dict(endpoint.rejections.counts),
        )

    async def load(self, connection: IkeConnection) -> Loaded:
        """Load a connection, or replace the one of its name; its plaintext stays home from now on.

        Raises:
            ParameterError: the endpoint cannot have it; the text says why.
        """
        endpoint = self._endpoint
        try:
            reqids = {
                child.name: endpoint.reqid(connection.name, child.name) for child in connection.children
            }
            loaded = profile(connection, reqids)
            policies = endpoint.policies(loaded)
        except ValueError as error:
            raise errors.ParameterError(f"connection {connection.name!r}: {error}") from None
        before = endpoint.profiles.get(loaded.name)
        standing = {} if before is None else {one.reqid: one for one in endpoint.policies(before)}
        for policy in policies:
            if standing.get(policy.reqid, policy) != policy:  # the same child, with other selectors
                await self._driver.plane.remove_policy(policy.reqid)
            await self._driver.plane.install_policy(policy)
        endpoint.load(loaded, self._driver.now())
        self._driver.drain()
        await self._abnormality.loaded(loaded.peer)
        return Loaded(name=loaded.name, guarded=tuple(sorted({str(policy.remote_ts) for policy in policies})))

    async def unload(self, request: Unload) -> None:
        """Unload a connection; SAs that are up stay up.

        Raises:
            ParameterError: there is no such connection.
        """
        self._require(request.name)
        self._endpoint.unload(request.name, self._driver.now())
        self._driver.drain()
        await self._driver.settle()

    async def initiate(self, request: Initiate) -> Initiated:
        """Negotiate until the pair is in use.

        Raises:
            ParameterError: there is no such connection or child.
            InactiveError: the sender is inactive towards the partner; nothing was begun.
            NegotiationError: it did not come to it; the text has the reason.
        """
        loaded = self._require(request.connection)
        child = _child_of(loaded, request.child)
        self._abnormality.begin(loaded.peer)
        try:
            pair = await self._await_pair(
                lambda ended: self._endpoint.initiate(loaded.name, child, ended, self._driver.now()),
                f"connection {loaded.name!r}, child {child!r}",
                request.timeout,
            )
        except errors.NegotiationError as error:
            inactive = self._abnormality.why_inactive(loaded.peer)
            raise errors.NegotiationError(f"{error}; {inactive}" if inactive else str(error)) from None
        for ike in await self.sas():
            for one in ike.children:
                if one.unique_id == pair.id:
                    return Initiated(ike=msgspec.structs.replace(ike, children=()), child=one)
        raise errors.NegotiationError(f"CHILD_SA #{pair.id} was installed, and is gone again")

    async def rekey(self, request: Rekey) -> Rekeyed:
        """Rekey an SA, and wait until the new one is in place here.

        Raises:
            ParameterError: no such SA.
            NegotiationError: it did not come to it; the text has the reason.
        """
        if not request.of_child:
            return await self._rekey_isakmp(self._isakmp_meant(request)[-1], request.timeout)
        pairs = [pair for pair in self._pairs_meant(request) if pair.state is PairState.EFFECTIVE]
        if not pairs:
            raise errors.ParameterError(f"no SA is up that fits {_said(request)}")
        old = pairs[-1]
        old_spis = old.spis
        new = await self._await_pair(
            lambda ended: self._endpoint.rekey_pair(old, ended, self._driver.now()),
            f"rekeying CHILD_SA {old.child.name} #{old.id}",
            request.timeout,
        )
        return Rekeyed(
            kind="child",
            name=old.child.name,
            old_id=old.id,
            new_id=new.id,
            old_spis=old_spis,
            new_spis=new.spis,
        )

    async def _rekey_isakmp(self, old: IsakmpSa, timeout: float) -> Rekeyed:
        over = anyio.Event()
        outcome: list[tuple[IsakmpSa | None, str]] = []

        def ended(new: IsakmpSa | None, reason: str) -> None:
            outcome.append((new, reason))
            over.set()

        what = f"rekeying IKE_SA {old.profile.name} #{old.id}"
        self._endpoint.rekey_isakmp(old, ended, self._driver.now())
        self._driver.drain()
        with anyio.move_on_after(timeout):
            await over.wait()
        if not outcome:
            raise errors.NegotiationError(f"{what} did not end in time")
        new, reason = outcome[0]
        if new is None:
            raise errors.NegotiationError(f"{what}: {reason}")
        return Rekeyed(
            kind="ike",
            name=old.profile.name,
            old_id=old.id,
            new_id=new.id,
            old_spis=(old.cookies[0].hex(), old.cookies[1].hex()),
            new_spis=(new.cookies[0].hex(), new.cookies[1].hex()),
        )

    async def _await_pair(
        self,
        begin: Callable[[Callable[[IpsecSa | None, str], None]], None],
        what: str,
        timeout: float,
    ) -> IpsecSa:
        over = anyio.Event()
        outcome: list[tuple[IpsecSa | None, str]] = []

        def ended(pair: IpsecSa | None, reason: str) -> None:
            outcome.append((pair, reason))
            over.set()

        begin(ended)
        self._driver.drain()
        with anyio.move_on_after(timeout):
            await over.wait()
        if not outcome:
            raise errors.NegotiationError(f"{what}: not established after {round(timeout * 1000)}ms")
        pair, reason = outcome[0]
        if pair is None:
            raise errors.NegotiationError(f"{what}: {reason}")
        return pair

    async def terminate(self, request: Terminate) -> Terminated:
        """Delete SAs, and tell the partner, which does not answer (RFC 2409, section 5.7).

        Raises:
            ParameterError: no SA fits.
        """
        endpoint, now = self._endpoint, self._driver.now()
        count = 0
        if request.of_child:
            for pair in self._pairs_meant(request):
                endpoint.terminate_pair(pair, now)
                count += 1
        else:
            for sa in self._isakmp_meant(request):
                endpoint.terminate_isakmp(sa, now)
                count += 1
        if not count:
            raise errors.ParameterError(f"no SA fits {_said(request)}")
        self._driver.drain()
        await self._driver.settle()
        return Terminated(terminated=count)

    async def sas(self) -> tuple[IkeSa, ...]:
        """The ISAKMP SAs, half-open ones too, each with its pairs."""
        usage = await self._driver.plane.usage()
        return self._endpoint.sas(self._driver.now(), usage)

    def _require(self, name: str) -> Profile:
        profiles = self._endpoint.profiles
        if name not in profiles:
            there_are = ", ".join(sorted(profiles)) or "none"
            raise errors.ParameterError(f"no connection {name!r} is loaded; there are: {there_are}")
        return profiles[name]

    def _isakmp_meant(self, selector: SaSelector) -> list[IsakmpSa]:
        """The ISAKMP SAs that a selector fits, oldest first.

        Raises:
            ParameterError: there is none.
        """
        found = [
            sa
            for sa in self._endpoint.phase1.sas
            if selector.connection in (None, sa.profile.name) and selector.ike_id in (None, sa.id)
        ]
        if not found:
            raise errors.ParameterError(f"no SA is up that fits {_said(selector)}")
        return found

    def _pairs_meant(self, selector: SaSelector) -> list[IpsecSa]:
        """The pairs that a selector fits, oldest first."""
        lifecycle = self._endpoint.lifecycle
        of_ike = None
        if selector.ike_id is not None:
            of_ike = {
                pair.id
                for sa in self._endpoint.phase1.sas
                if sa.id == selector.ike_id
                for pair in self._endpoint.pairs_of(sa)
            }
        return [
            pair
            for pair in lifecycle.pairs
            if selector.connection in (None, pair.profile.name)
            and selector.child in (None, pair.child.name)
            and selector.child_id in (None, pair.id)
            and (of_ike is None or pair.id in of_ike)
        ]


def _child_of(loaded: Profile, child: str | None) -> str:
    names = [one.name for one in loaded.children]
    if child is None and len(names) == 1:
        return names[0]
    if child in names:
        return child
    wrong = "has several children: say which" if child is None else f"has no child {child!r}"
    raise errors.ParameterError(f"connection {loaded.name!r} {wrong}; it has: {', '.join(names)}")


def _said(selector: SaSelector) -> str:
    parts: dict[str, Any] = {
        "ike": selector.connection,
        "child": selector.child,
        "ike-id": selector.ike_id,
        "child-id": selector.child_id,
    }
    return ", ".join(f"{key} {value}" for key, value in parts.items() if value is not None)


def _resident() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - a line of the kernel's
        return int(statm.read().split()[1]) * resource.getpagesize()
