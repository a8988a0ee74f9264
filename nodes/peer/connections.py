"""The connections that a peer has loaded: their secrets in charon, their prefixes guarded, all or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import NamedTuple

import anyio

from nodes import errors
from nodes.peer.inner import PlaintextGuard, guarded_prefixes
from nodes.peer.messages import connection_message, key_message, shared_message
from nodes.peer.model import Certificate, Connection, Loaded, Psk
from nodes.peer.vici_client import CommandFailed, ViciClient


class _Entry(NamedTuple):
    children: tuple[str, ...]
    key: str | None
    shared: str | None


class Connections:
    """What this peer has loaded through VICI, by name."""

    def __init__(self, vici: ViciClient, guard: PlaintextGuard) -> None:
        self._vici = vici
        self._guard = guard
        self._entries: dict[str, _Entry] = {}
        self._changing = anyio.Lock()

    async def load(self, connection: Connection) -> Loaded:
        """Load a connection, or replace the one of its name.

        The guard stands before charon may act on the connection. Where charon refuses it, nothing of it
        stays; a connection of this name that was loaded before is then gone too.

        Raises:
            ParameterError: charon refuses it; the text has charon's words, and no secret.
        """
        prefixes = guarded_prefixes(connection)
        async with self._changing:
            before = self._entries.get(connection.name)  # meanwhile it can be initiated
            entry = _Entry(tuple(child.name for child in connection.children), None, None)
            try:
                await self._guard.hold(connection.name, prefixes)
                entry = await self._load_secret(connection, entry)
                await self._vici.request("load-conn", connection_message(connection))
            except CommandFailed as refusal:
                self._entries.pop(connection.name, None)
                await self._remove(connection.name, entry, before)
                raise errors.ParameterError(
                    f"charon refuses connection {connection.name!r}: {refusal}"
                ) from None
            self._entries[connection.name] = entry
            if before is not None:
                await self._remove_secrets(before)
        return Loaded(name=connection.name, guarded=tuple(sorted(str(prefix) for prefix in prefixes)))

    async def _load_secret(self, connection: Connection, entry: _Entry) -> _Entry:
        match connection.auth:
            case Psk() as psk:
                await self._vici.request("load-shared", shared_message(connection, psk))
                return entry._replace(shared=connection.name)
            case Certificate() as certificate:
                answer = await self._vici.request("load-key", key_message(certificate))
                return entry._replace(key=answer["id"])

    async def unload(self, name: str) -> None:
        """Unload a connection with its secret and its guard; SAs that are up stay up.

        Raises:
            ParameterError: there is no such connection.
        """
        async with self._changing:
            self.require(name)
            await self._remove(name, self._entries.pop(name))

    def child_of(self, name: str, child: str | None) -> str:
        """The name of a connection's child: the one that is asked for, or the only one.

        Raises:
            ParameterError: there is no such connection or child, or it must be said which.
        """
        children = self.require(name)
        if child is None and len(children) == 1:
            return children[0]
        if child in children:
            return child
        wrong = "has several children: say which" if child is None else f"has no child {child!r}"
        raise errors.ParameterError(f"connection {name!r} {wrong}; it has: {', '.join(children)}")

    def require(self, name: str) -> tuple[str, ...]:
        """The names of a connection's children.

        Raises:
            ParameterError: there is no such connection; the text has those that there are.
        """
        if name not in self._entries:
            there_are = ", ".join(sorted(self._entries)) or "none"
            raise errors.ParameterError(f"no connection {name!r} is loaded; there are: {there_are}")
        return self._entries[name].children

    async def _remove(self, name: str, *entries: _Entry | None) -> None:
        await self._unless_missing("unload-conn", {"name": name})
        for entry in entries:
            if entry is not None:
                await self._remove_secrets(entry)
        await self._guard.release(name)

    async def _remove_secrets(self, entry: _Entry) -> None:
        in_use = self._entries.values()
        if entry.key is not None and entry.key not in {one.key for one in in_use}:
            await self._unless_missing("unload-key", {"id": entry.key})
        if entry.shared is not None and entry.shared not in {one.shared for one in in_use}:
            await self._unless_missing("unload-shared", {"id": entry.shared})

    async def _unless_missing(self, command: str, message: Mapping[str, str]) -> None:
        with contextlib.suppress(CommandFailed):
            await self._vici.request(command, message)
