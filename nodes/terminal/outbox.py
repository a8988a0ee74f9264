"""The actions of one call, in an order in which mappings come before what relies on them. No I/O."""

from __future__ import annotations

from typing import Any

from nodes.terminal.actions import Action, Report, Rewrite
from nodes.terminal.services import ServiceTable


class Outbox:
    """Collects actions; changes of the services' paths go before the action that follows them."""

    def __init__(self, services: ServiceTable) -> None:
        self._services = services
        self._actions: list[Action] = []

    def act(self, action: Action) -> None:
        """Ask for this, after everything before."""
        self._flush()
        self._actions.append(action)

    def report(self, kind: str, **data: Any) -> None:
        """Put an event on the stream."""
        self._actions.append(Report(kind=kind, data=data))

    def take(self) -> list[Action]:
        """The actions of this call."""
        self._flush()
        actions, self._actions = self._actions, []
        return actions

    def _flush(self) -> None:
        rewritings = self._services.take_changed()
        if rewritings:
            self._actions.append(Rewrite(rewritings=rewritings))
