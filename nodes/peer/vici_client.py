"""VICI as anyio speaks it: the wire format is PyPI ``vici``'s, the transport is ours.

The package's own session blocks its thread, cannot be cancelled, and must not be sent a command while a
streamed reply is read. Here every command and every subscription has a connection of its own, so that any
number run side by side, and cancelling one closes its connection and leaves nothing behind.

Source: the VICI protocol's README in strongSwan, ``src/libcharon/plugins/vici/README.md``.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from vici.exception import DeserializationException
from vici.protocol import Message, Packet, Transport

from nodes import errors
from nodes.control.stream import UnixStream

MAX_SEGMENT: int = Transport.MAX_SEGMENT
"""The longest packet, in octets, that VICI allows."""
ACCEPT_TIMEOUT = 10
"""Seconds that charon has to accept a connection."""


class CommandFailed(Exception):
    """Charon refused or failed a command; the text is its own."""


class ViciEvent(NamedTuple):
    """An event of charon's: its VICI name, CLOCK_MONOTONIC ns of its arrival, and its message."""

    name: str
    time_ns: int
    message: Mapping[str, Any]


def _text(value: Any) -> Any:
    """A deserialised message with text in place of octets."""
    if isinstance(value, dict):
        return {key: _text(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_text(one) for one in value]
    return value.decode("utf-8", "replace")


async def _connected(path: Path) -> UnixStream:
    """A connection to charon, which lets four wait to be accepted; the next one waits in a thread."""
    with contextlib.suppress(BlockingIOError):
        return await UnixStream.connect(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", ACCEPT_TIMEOUT, 0))
        await anyio.to_thread.run_sync(sock.connect, str(path), abandon_on_cancel=True)
    except BaseException:
        sock.close()
        raise
    return UnixStream(sock)


class _Connection:
    def __init__(self, stream: UnixStream) -> None:
        self._stream = stream
        self._received = bytearray()

    async def send(self, packet: bytes) -> None:
        try:
            await self._stream.send(struct.pack("!I", len(packet)) + packet)
        except errors.ControlClosedError:
            raise _ended() from None

    async def receive(self) -> Any:
        (length,) = struct.unpack("!I", await self._exactly(4))
        if length > MAX_SEGMENT:
            raise errors.ProtocolError(f"a VICI packet of {length} octets, above {MAX_SEGMENT}")
        try:
            return Packet.parse(await self._exactly(length))
        except struct.error as error:
            raise errors.ProtocolError(f"a malformed VICI packet: {error}") from error

    async def _exactly(self, length: int) -> bytes:
        while len(self._received) < length:
            data = await self._stream.receive()
            if not data:
                raise _ended()
            self._received += data
        taken = bytes(self._received[:length])
        del self._received[:length]
        return taken

    async def register(self, event: str) -> bool:
        """Subscribe to an event; False where charon does not know it."""
        await self.send(Packet.register_event(event))
        while (packet := await self.receive()).response_type == Packet.EVENT:
            pass
        return bool(packet.response_type == Packet.EVENT_CONFIRM)


def _ended() -> errors.DaemonError:
    return errors.DaemonError("charon ended the VICI connection")


def _message(packet: Any) -> dict[str, Any]:
    try:
        message: dict[str, Any] = _text(Message.deserialize(packet.payload))
    except (DeserializationException, struct.error, UnicodeDecodeError) as error:
        raise errors.ProtocolError(f"a malformed VICI message: {error}") from error
    return message


def _ignore(_: Mapping[str, Any]) -> None:
    pass


class ViciClient:
    """Commands and events of the charon that listens at ``path``.

    Every method raises ``DaemonError`` where charon is not there or ends meanwhile, and ``ProtocolError``
    where its answer is no VICI.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[_Connection]:
        try:
            stream = await _connected(self._path)
        except OSError as error:
            raise errors.DaemonError(f"charon does not answer at {self._path}: {error.strerror}") from error
        async with stream:
            yield _Connection(stream)

    async def request(
        self,
        command: str,
        message: Mapping[str, Any] | None = None,
        *,
        streamed: str | None = None,
        on_item: Callable[[Mapping[str, Any]], None] = _ignore,
    ) -> dict[str, Any]:
        """Run ``command`` and return its answer.

        Args:
            command: the command's VICI name.
            message: its argument.
            streamed: the event by which the command streams, if it does.
            on_item: is called with the message of each such event.

        Raises:
            CommandFailed: charon refused or failed it.
        """
        async with self._connect() as connection:
            if streamed is not None and not await connection.register(streamed):
                raise errors.ProtocolError(f"charon knows no VICI event {streamed!r}")
            await connection.send(Packet.request(command, Message.serialize(message or {})))
            while (packet := await connection.receive()).response_type == Packet.EVENT:
                on_item(_message(packet))
        if packet.response_type == Packet.CMD_UNKNOWN:
            raise errors.ProtocolError(f"charon knows no VICI command {command!r}")
        if packet.response_type != Packet.CMD_RESPONSE:
            raise errors.ProtocolError(
                f"VICI answered {command!r} with a packet of type {packet.response_type}"
            )
        answer = _message(packet)
        if answer.get("success", "yes") != "yes":
            raise CommandFailed(answer.get("errmsg") or f"{command} failed")
        return answer

    async def items(
        self, command: str, streamed: str, message: Mapping[str, Any] | None = None
    ) -> list[Mapping[str, Any]]:
        """Run a command that streams and return what it streamed.

        Raises:
            CommandFailed: charon refused or failed it.
        """
        found: list[Mapping[str, Any]] = []
        await self.request(command, message, streamed=streamed, on_item=found.append)
        return found

    @asynccontextmanager
    async def listen(
        self, names: Sequence[str], *, optional: Sequence[str] = ()
    ) -> AsyncIterator[AsyncIterator[ViciEvent]]:
        """Subscribe to events; from then on none is missed.

        Args:
            names: the events' VICI names.
            optional: events that charon may not know.
        """
        async with self._connect() as connection:
            for name in names:
                if not await connection.register(name):
                    raise errors.ProtocolError(f"charon knows no VICI event {name!r}")
            for name in optional:
                await connection.register(name)
            async with contextlib.aclosing(_events(connection)) as events:
                yield events


async def _events(connection: _Connection) -> AsyncGenerator[ViciEvent, None]:
    while True:
        packet = await connection.receive()
        if packet.response_type == Packet.EVENT:
            yield ViciEvent(
                packet.event_type.decode("utf-8", "replace"), time.monotonic_ns(), _message(packet)
            )
