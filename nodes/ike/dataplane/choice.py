"""Which data plane the endpoint uses: found out by trying, as a peer's is (:mod:`nodes.peer.dataplane`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from nodes import errors
from nodes.ike.dataplane.base import DataPlane
from nodes.ike.dataplane.kernel import kernel_dataplane
from nodes.ike.dataplane.userspace import userspace_dataplane
from nodes.peer.dataplane import MEND_KERNEL, kernel_refusal


@asynccontextmanager
async def open_dataplane(
    wanted: Literal["auto", "kernel", "userspace"] = "auto", *, port: int = 4500
) -> AsyncIterator[DataPlane]:
    """The data plane that is wanted, or with ``auto`` the first that works, the kernel first.

    Args:
        port: the UDP port of ESP and IKE.

    Raises:
        MachineError: it does not work here; the text says what is missing and what mends it.
        DataPlaneError: it did not start, or died meanwhile.
    """
    refusal = await kernel_refusal() if wanted != "userspace" else None
    if wanted != "userspace" and refusal is None:
        async with kernel_dataplane("an ESP state could be added", port=port) as kernel:
            yield kernel
    elif wanted == "kernel":
        raise errors.MachineError(f"no kernel ESP in this node: {refusal}. Try: {MEND_KERNEL}")
    else:
        async with userspace_dataplane(refusal or "asked for", port=port) as userspace:
            yield userspace
