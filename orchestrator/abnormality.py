"""Method 2 in a node, as a script sees it: the methods ``abnormality.*``, typed (docs/ike-abnormality.md)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from nodes import errors
from nodes.abnormality import model
from orchestrator.control import ControlClient


class Abnormality:
    """The handling of abnormal negotiations in one node. Each method raises what the node raised."""

    def __init__(self, control: ControlClient) -> None:
        self._control = control

    async def configure(
        self,
        *,
        handling: model.Handling | None = None,
        t1: float | None = None,
        t2: float | None = None,
        growth: float | None = None,
        ceiling: float | None = None,
        partner: str | None = None,
    ) -> model.Configured:
        """Set what is in force; what is left out stays as it is. Times are seconds.

        Args:
            handling: ``on`` begins, also where a guard has died; ``off`` ends it, and makes all active.
            partner: the address of the one partner that the times are for.

        Raises:
            ParameterError: these are no times, or there is no such partner.
            MachineError: the node's kernel or rights do not allow it.
        """
        with _parameters():
            asked = model.Configure(
                handling=handling, t1=t1, t2=t2, growth=growth, ceiling=ceiling, partner=partner
            )
        return await self._control.call("abnormality.configure", asked, model.Configured)

    async def status(self) -> model.Status:
        """What is in force, and what is remembered of each partner and side."""
        return await self._control.call("abnormality.status", None, model.Status)

    async def activate(self, partner: str | None = None) -> int:
        """Make a partner, or all, active at once; return how many sides became so.

        Raises:
            ParameterError: there is no such partner.
        """
        with _parameters():
            asked = model.Activate(partner=partner)
        return (await self._control.call("abnormality.activate", asked, model.Activated)).activated


@contextlib.contextmanager
def _parameters() -> Iterator[None]:
    """What a Struct refuses on its construction is a parameter that is wrong."""
    try:
        yield
    except ValueError as error:
        raise errors.ParameterError(str(error)) from None
