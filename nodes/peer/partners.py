"""The partners of a peer, as its connections name them, and what is to be begun again with each. No I/O."""

from __future__ import annotations

import dataclasses
import ipaddress

from nodes.peer.model import Connection


@dataclasses.dataclass
class _Loaded:
    """A connection: its partner, whether charon tries for ever, and the children that were asked for.

    ``cut``: the guard has ended a negotiation of it that charon would have repeated.
    """

    partner: str
    for_ever: bool
    asked: set[str] = dataclasses.field(default_factory=set)
    cut: bool = False


class Partners:
    """The loaded connections to IPv6 addresses, by name."""

    def __init__(self) -> None:
        self._loaded: dict[str, _Loaded] = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """The partners, each once."""
        return tuple(sorted({loaded.partner for loaded in self._loaded.values()}))

    def load(self, connection: Connection) -> str | None:
        """Take a connection; the partner's address, None where the method does not reach it (IPv4)."""
        address = ipaddress.ip_address(connection.remote.address)
        if address.version != 6:
            return None
        self._loaded[connection.name] = _Loaded(str(address), connection.keyingtries == 0)
        return str(address)

    def unload(self, connection: str) -> bool:
        """Forget a connection; whether it was known."""
        return self._loaded.pop(connection, None) is not None

    def of(self, connection: str) -> str | None:
        """The address of a connection's partner."""
        loaded = self._loaded.get(connection)
        return None if loaded is None else loaded.partner

    def asked(self, connection: str, child: str) -> None:
        """A child of a connection was asked for."""
        if connection in self._loaded:
            self._loaded[connection].asked.add(child)

    def cut(self, connection: str) -> None:
        """A negotiation of a connection, which this peer began, was ended by the guard."""
        if connection in self._loaded:
            self._loaded[connection].cut = True

    def resumed(self, partner: str) -> list[tuple[str, str]]:
        """What is to be begun again with a partner: connection and child of what was cut short, once each.

        That is what charon would have tried for ever (keyingtries 0).
        """
        found = []
        for name, loaded in self._loaded.items():
            if loaded.partner == partner and loaded.cut:
                loaded.cut = False
                if loaded.for_ever:
                    found += [(name, child) for child in sorted(loaded.asked)]
        return found
