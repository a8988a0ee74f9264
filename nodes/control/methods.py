"""The methods that a node answers: a name, a typed parameter, a typed result."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, get_type_hints

import msgspec

from nodes import errors
from nodes.control.messages import Request

Handler = Callable[..., Awaitable[Any]]
"""An async callable with no parameter, or with one that is annotated with a ``msgspec.Struct``."""


class Methods:
    """A table of methods by name; parameters are checked before a handler sees them."""

    def __init__(self, handlers: Mapping[str, Handler] | None = None) -> None:
        self._handlers: dict[str, tuple[Handler, type[Any] | None]] = {}
        self.add(handlers or {})

    def add(self, handlers: Mapping[str, Handler]) -> None:
        """Add handlers by name."""
        for name, handler in handlers.items():
            hints = get_type_hints(handler)
            parameters = list(inspect.signature(handler).parameters)
            self._handlers[name] = (handler, hints[parameters[0]] if parameters else None)

    @property
    def names(self) -> list[str]:
        """The names, sorted."""
        return sorted(self._handlers)

    async def call(self, request: Request) -> Any:
        """Run the method that ``request`` names.

        Raises:
            ProtocolError: there is no such method.
            ParameterError: the parameter is not of the method's type; the text says where.
            Exception: whatever the handler raises.
        """
        if request.method not in self._handlers:
            raise errors.ProtocolError(
                f"no method {request.method!r} in this node; it has {', '.join(self.names) or 'none'}"
            )
        handler, type_ = self._handlers[request.method]
        if type_ is None:
            return await handler()
        try:
            parameter = msgspec.json.decode(request.params, type=type_)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise errors.ParameterError(f"{request.method}: {error}") from error
        return await handler(parameter)
