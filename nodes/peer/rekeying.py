"""How a rekey that was asked for ends, read from charon's events, without I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from nodes.peer.events import LOG_KIND
from nodes.peer.model import ChildSa, IkeSa, Rekeyed

KINDS = (
    *("ike-sa.established", "ike-sa.rekeyed", "ike-sa.deleted"),
    *("child-sa.rekeyed", "child-sa.deleted", LOG_KIND),
)
"""The events that :meth:`Target.read` needs."""

_GAVE_UP = re.compile(r"(CHILD|IKE)_SA rekeying failed|giving up after \d+ retransmits")


class Failed(NamedTuple):
    """The rekey is over without a new SA."""


class Target(NamedTuple):
    """The SA that is being rekeyed: an IKE SA, or one of its CHILD_SAs."""

    ike: IkeSa
    child: ChildSa | None

    def __str__(self) -> str:
        if self.child is None:
            return f"IKE_SA {self.ike.name} #{self.ike.unique_id}"
        return f"CHILD_SA {self.child.name} #{self.child.unique_id}"

    def read(self, kind: str, data: Mapping[str, Any]) -> Rekeyed | Failed | str | None:
        """What an event says of this rekey: its end, a log line of its IKE SA, or nothing.

        IKEv1 has no rekey of the IKE SA: charon negotiates another of the same name, which takes over.
        """
        if kind == LOG_KIND:
            if data.get("ike_id") != self.ike.unique_id:
                return None
            return Failed() if _GAVE_UP.search(data["text"]) else str(data["text"])
        return self._read_ike(kind, data) if self.child is None else self._read_child(kind, data, self.child)

    def _read_ike(self, kind: str, data: Mapping[str, Any]) -> Rekeyed | Failed | None:
        new: Mapping[str, Any] | None = None
        if kind == "ike-sa.rekeyed" and data["old"]["unique_id"] == self.ike.unique_id:
            new = data["new"]
        elif kind == "ike-sa.established" and self.ike.version == 1 and data["name"] == self.ike.name:
            new = data
        elif kind == "ike-sa.deleted" and data["unique_id"] == self.ike.unique_id:
            return Failed()
        if new is None:
            return None
        return Rekeyed(
            kind="ike",
            name=self.ike.name,
            old_id=self.ike.unique_id,
            new_id=new["unique_id"],
            old_spis=(self.ike.initiator_spi, self.ike.responder_spi),
            new_spis=(new["initiator_spi"], new["responder_spi"]),
        )

    def _read_child(self, kind: str, data: Mapping[str, Any], child: ChildSa) -> Rekeyed | Failed | None:
        if kind == "child-sa.deleted" and data["unique_id"] == child.unique_id:
            return Failed()
        if kind != "child-sa.rekeyed" or data["old"]["unique_id"] != child.unique_id:
            return None
        old, new = data["old"], data["new"]
        return Rekeyed(
            kind="child",
            name=child.name,
            old_id=child.unique_id,
            new_id=new["unique_id"],
            old_spis=(old["spi_in"], old["spi_out"]),
            new_spis=(new["spi_in"], new["spi_out"]),
        )
