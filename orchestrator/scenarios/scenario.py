"""What a scenario is, and how its parameters are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from nodes import errors
from orchestrator.scenarios.stage import Stage


class Parameters(BaseModel):
    """The base of a scenario's parameters; each field's description is what ``hopbed list`` shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)


P = TypeVar("P", bound=Parameters)


class Cast(NamedTuple):
    """The nodes that a run needs, and those of them that a fault calls INITIATOR and RESPONDER."""

    nodes: tuple[str, ...]
    ends: tuple[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario(Generic[P]):
    """A scenario.

    Attributes:
        name: what ``hopbed run`` calls it.
        summary: one line.
        nodes: the nodes of the default testbed that it may need; no others are brought up.
        ends: the nodes that a fault calls INITIATOR and RESPONDER.
        cast: where that depends on the parameters, the nodes and the ends of this run.
        warnings: what is allowed and yet hardly meant, one line each; told before anything starts.
        parameters: the type of its parameters.
        play: acts on the testbed that is up, and says on the stage what was expected and measured; it calls
            ``stage.begin_faults()`` where the faults that were asked for are to begin.
        settings: what the nodes' roles are told beside what every run tells them, by the node's name.
        inspect: looks at the captures when the play is over, and says what they show.
        snaplen: the octets of each packet to keep in the captures; None keeps all.
    """

    name: str
    summary: str
    nodes: tuple[str, ...]
    ends: tuple[str, str]
    parameters: type[P]
    play: Callable[[Stage, P], Awaitable[None]]
    cast: Callable[[P], Cast] | None = None
    warnings: Callable[[P], Sequence[str]] = lambda _: ()
    settings: Callable[[P], Mapping[str, Mapping[str, Any]]] = lambda _: {}
    inspect: Callable[[Stage, P], None] | None = None
    snaplen: int | None = None

    def cast_of(self, parameters: P) -> Cast:
        """The nodes and the ends of a run with these parameters."""
        return Cast(self.nodes, self.ends) if self.cast is None else self.cast(parameters)

    def parse(self, given: Iterable[str]) -> P:
        """The parameters from ``name=value`` words.

        Raises:
            ParameterError: one does not exist, is given twice, or is out of its range.
        """
        values: dict[str, str] = {}
        for word in given:
            name, equals, value = word.partition("=")
            if not equals:
                raise errors.ParameterError(f"{self.name}: {word!r} is not NAME=VALUE")
            if name in values:
                raise errors.ParameterError(f"{self.name}: {name} is given twice")
            values[name] = value
        return self.validate(values)

    def validate(self, values: dict[str, Any]) -> P:
        """The parameters from values by name.

        Raises:
            ParameterError: one does not exist, or is out of its range.
        """
        try:
            return self.parameters.model_validate(values)
        except ValidationError as error:
            found = error.errors()[0]
            name = ".".join(str(part) for part in found["loc"])
            if found["type"] == "extra_forbidden":
                known = ", ".join(self.parameters.model_fields)
                raise errors.ParameterError(
                    f"{self.name}: there is no parameter {name!r}; it has {known}"
                ) from None
            message = found["msg"].removeprefix("Value error, ")
            what = message[:1].lower() + message[1:]
            which = f"{name}={found.get('input')}: " if name else ""  # else it is about several together
            raise errors.ParameterError(f"{self.name}: {which}{what}") from None
