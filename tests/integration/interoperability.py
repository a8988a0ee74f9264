"""The IKEv1 endpoint against an unmodified strongSwan: every combination of what can be negotiated.

One testbed plays all combinations, one after another: connections are loaded and unloaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Awaitable, Callable

import msgspec

from nodes.errors import HopbedError, ParameterError
from nodes.events import Event
from nodes.peer.model import Rekey, Terminate
from orchestrator.tasks import gather
from orchestrator.testbed import Testbed
from orchestrator.tunnel import CHILD, CONNECTION, Settings, at_endpoint, credentials, tunnel

STRONGSWAN, ENDPOINT = "peer-a", "endpoint"
ENDS = (STRONGSWAN, ENDPOINT)
SETTINGS = {STRONGSWAN: {"publish_log": 1}}
"""strongSwan's own log says which notifications it sent and understood."""
HEARD = 30.0
"""Seconds after which what was due is missing."""
DPD_DELAY = 1

GROUPS = {"ecp256": "ECP_256", "modp2048": "MODP_2048"}
CIPHERS = {"aes128gcm16": "AES-GCM", "aes128-sha256": "AES-CBC, SHA-256"}
STEPS = (
    *("tunnel", "traffic", "rekey by the initiator", "rekey by the responder"),
    *("DELETE of the CHILD_SA by the initiator", "DELETE of the IKE SA by the responder"),
    "DPD by the initiator",
)
YES = "yes"


@dataclasses.dataclass(frozen=True)
class Combination:
    """What is negotiated, and by whom; ``esp`` is the proposal. ESP is in UDP by force, as behind a NAT."""

    initiator: str
    group: str
    esp: str
    pfs: bool

    @property
    def responder(self) -> str:
        """The other end."""
        return ENDPOINT if self.initiator == STRONGSWAN else STRONGSWAN

    @property
    def row(self) -> tuple[str, ...]:
        """How the table calls it."""
        who = "strongSwan" if self.initiator == STRONGSWAN else "the endpoint"
        return (who, GROUPS[self.group].replace("_", ""), CIPHERS[self.esp], YES if self.pfs else "no")


COMBINATIONS = tuple(
    Combination(*values) for values in itertools.product(ENDS, GROUPS, CIPHERS, (False, True))
)


class Trial:
    """One combination on a testbed that is up."""

    def __init__(self, bed: Testbed, combination: Combination) -> None:
        self._bed = bed
        self._what = combination
        self._since = len(bed.events.past)

    async def run(self) -> dict[str, str]:
        """What came of each step: :data:`YES`, or why not. After a step that failed nothing more is tried."""
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            *(self._establish, self._traffic, self._rekey_by_initiator, self._rekey_by_responder),
            *(self._delete_child_by_initiator, self._delete_ike_by_responder, self._dpd),
        )
        results = dict.fromkeys(STEPS, "not tried")
        await self._load()
        try:
            for name, step in zip(STEPS, steps, strict=True):
                self._since = len(self._bed.events.past)
                await step()
                results[name] = YES
        except (HopbedError, AssertionError) as error:
            results[name] = f"no: {error}"
        finally:
            await self._unload()
        return results

    def _end(self, name: str):
        return self._bed.node(name).tunnel_end

    async def _load(self) -> None:
        what = self._what
        settings = Settings(
            version=1,
            pfs=what.pfs,
            pfs_group=what.group,
            ike_proposals=(f"aes128-sha256-{what.group}",),
            esp_proposals=(what.esp,),
            child_rekey_time=0,
            ike_rekey_time=0,
            encap=True,
        )
        ends = tunnel(
            self._bed.plan,
            what.initiator,
            what.responder,
            credentials(self._bed.plan, ENDS, "psk"),
            settings,
        )
        for name, connection in ((what.initiator, ends.initiator), (what.responder, ends.responder)):
            asks = DPD_DELAY if name == what.initiator else 0
            one = msgspec.structs.replace(connection, dpd_delay=asks)
            await self._end(name).load(at_endpoint(one, timing="early") if name == ENDPOINT else one)

    async def _unload(self) -> None:
        for name in ENDS:
            end = self._end(name)
            if await end.list_sas():
                with contextlib.suppress(ParameterError):  # the other end's DELETE was quicker
                    await end.terminate(Terminate(connection=CONNECTION, force=True))
            await end.unload(CONNECTION)

    async def _heard(self, kind: str, node: str, where=lambda _: True):
        return await self._bed.events.wait_for(kind, node=node, where=where, since=self._since, timeout=HEARD)

    async def _establish(self) -> None:
        what = self._what
        initiated = await self._end(what.initiator).initiate(CONNECTION, CHILD)
        await self._heard("child-sa.installed", what.responder)
        assert initiated.ike.dh_group == GROUPS[what.group], initiated.ike.dh_group
        assert initiated.child.encap, "ESP is not in UDP"
        await self._check_children()

    async def _check_children(self) -> None:
        """Both ends say that the CHILD_SA is what was asked for."""
        for sas in await gather(self._end(name).list_sas() for name in ENDS):
            assert len(sas) == 1, f"{len(sas)} IKE SAs"
            child = max(sas[0].children, key=lambda one: one.unique_id)
            assert (child.encryption or "").startswith(self._encryption), child.encryption
            wanted = GROUPS[self._what.group] if self._what.pfs else None
            assert child.dh_group == wanted, f"PFS by {child.dh_group}"

    @property
    def _encryption(self) -> str:
        return "AES_GCM_16" if "gcm" in self._what.esp else "AES_CBC"

    async def _traffic(self) -> None:
        for source, target in (ENDS, reversed(ENDS)):
            near, far = self._bed.node(source), self._bed.node(target)
            command = ["ping", "-6", "-n", "-c", "3", "-i", "0.02", "-W", "5"]
            await near.exec([*command, "-I", near.inner_address, far.inner_address])

    async def _rekey(self, by: str, other: str) -> None:
        new = await self._end(by).rekey(Rekey(connection=CONNECTION, child=CHILD))
        await self._heard(
            "child-sa.rekeyed", other, lambda event: event.data["new"]["spi_out"] == new.new_spis[0]
        )
        await self._check_children()
        await self._traffic()

    async def _rekey_by_initiator(self) -> None:
        await self._rekey(self._what.initiator, self._what.responder)

    async def _rekey_by_responder(self) -> None:
        await self._rekey(self._what.responder, self._what.initiator)

    async def _delete_child_by_initiator(self) -> None:
        """Every CHILD_SA goes, those that were replaced too; of these strongSwan tells in its log alone."""
        initiator, responder = self._what.initiator, self._what.responder
        (before,) = await self._end(responder).list_sas()
        await self._end(initiator).terminate(Terminate(connection=CONNECTION, child=CHILD))
        seen = 0

        def is_last(event: Event) -> bool:
            nonlocal seen
            seen += responder == ENDPOINT or event.data["text"].startswith("closing CHILD_SA")
            return seen == len(before.children)

        await self._heard("child-sa.deleted" if responder == ENDPOINT else "charon.log", responder, is_last)
        for (sa,) in await gather(self._end(name).list_sas() for name in ENDS):
            assert not sa.children, f"{len(sa.children)} CHILD_SAs are left"

    async def _delete_ike_by_responder(self) -> None:
        await self._establish()
        await self._end(self._what.responder).terminate(Terminate(connection=CONNECTION))
        await self._heard("ike-sa.deleted", self._what.initiator)
        for sas in await gather(self._end(name).list_sas() for name in ENDS):
            assert not sas, f"{len(sas)} IKE SAs are left"

    async def _dpd(self) -> None:
        """The initiator asks its silent partner, is answered, and the tunnel stands; by strongSwan's log."""
        await self._establish()
        asked, answered = (
            ("generating", "parsed") if self._what.initiator == STRONGSWAN else ("parsed", "generating")
        )
        await self._heard_by_log(asked, "N(DPD)")
        await self._heard_by_log(answered, "N(DPD_ACK)")
        await self._check_children()
        await self._traffic()

    async def _heard_by_log(self, *words: str) -> None:
        await self._heard(
            "charon.log", STRONGSWAN, lambda event: all(word in event.data["text"] for word in words)
        )


async def try_all(bed: Testbed) -> dict[tuple[str, ...], dict[str, str]]:
    """What came of every combination, by its row in the table."""
    return {one.row: await Trial(bed, one).run() for one in COMBINATIONS}
