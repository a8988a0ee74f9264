"""How much a data plane keeps for an endpoint that is behind."""

from __future__ import annotations

import contextlib
import math
from typing import TypeVar

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from nodes.ike.dataplane.base import DataPlaneEvent, IkeDatagram

_Item = TypeVar("_Item")
IKE_MESSAGES = 256
"""IKE messages; beyond it they are lost, as on the network."""


class Outlet:
    """What a data plane tells and passes on, and the streams that the endpoint reads it from."""

    def __init__(self) -> None:
        # none may be lost, and to wait would be to keep answers back; SAs and policies bound their number
        self._tell, self.events = anyio.create_memory_object_stream[DataPlaneEvent](math.inf)
        self._pass_on, self.ike_messages = anyio.create_memory_object_stream[IkeDatagram](IKE_MESSAGES)

    def tell(self, event: DataPlaneEvent) -> None:
        """Tell of an event."""
        _put(self._tell, event)

    def pass_on(self, datagram: IkeDatagram) -> None:
        """Pass an IKE message on; where there is no room it is lost."""
        _put(self._pass_on, datagram)


def _put(stream: MemoryObjectSendStream[_Item], item: _Item) -> None:
    with contextlib.suppress(anyio.WouldBlock, anyio.BrokenResourceError):
        stream.send_nowait(item)
