"""The control channel's messages, without I/O: lines in, typed messages out, and back.

JSON-RPC 2.0 (https://www.jsonrpc.org/specification), one document a line, UTF-8. Batches are not used.
An event travels as the notification ``event`` whose params are an :class:`nodes.events.Event`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from nodes import errors
from nodes.events import Event

MAX_LINE = 4 * 1024 * 1024
"""The longest line, in octets, that either side accepts."""

T = TypeVar("T")

_INVALID_REQUEST = -32600
_INVALID_PARAMS = -32602
_HOPBED_ERROR = -32000


class ErrorObject(msgspec.Struct, frozen=True):
    """The ``error`` member of a response; ``data`` holds the error type's name."""

    code: int
    message: str
    data: str | None = None


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call, or a notification where ``id`` is absent."""

    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")
    id: int | None = None
    jsonrpc: str = ""


class Response(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to the call with this ``id``: a ``result`` or an ``error``."""

    id: int | None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: ErrorObject | None = None
    jsonrpc: str = ""


class _Any(msgspec.Struct):
    method: str | msgspec.UnsetType = msgspec.UNSET


_peek = msgspec.json.Decoder(_Any)
_request = msgspec.json.Decoder(Request)
_response = msgspec.json.Decoder(Response)
_encoder = msgspec.json.Encoder()

VERSION = "2.0"


def encode_request(id_: int, method: str, params: Any) -> bytes:
    """A call as one line."""
    raw = msgspec.Raw(_encoder.encode(params))
    return _encoder.encode(Request(method=method, params=raw, id=id_, jsonrpc=VERSION)) + b"\n"


def encode_event(event: Event) -> bytes:
    """An event as the notification line that carries it."""
    raw = msgspec.Raw(_encoder.encode(event))
    return _encoder.encode(Request(method="event", params=raw, jsonrpc=VERSION)) + b"\n"


def encode_result(id_: int, result: Any) -> bytes:
    """A result as one line."""
    raw = msgspec.Raw(_encoder.encode(result))
    return _encoder.encode(Response(id=id_, result=raw, jsonrpc=VERSION)) + b"\n"


def encode_error(id_: int | None, error: BaseException) -> bytes:
    """An error as one line, with its type's name."""
    return _encoder.encode(Response(id=id_, error=error_object(error), jsonrpc=VERSION)) + b"\n"


def decode(line: bytes) -> Request | Response:
    """The message on one line.

    Raises:
        ProtocolError: the line is no JSON-RPC 2.0 message.
    """
    try:
        is_request = _peek.decode(line).method is not msgspec.UNSET
        message = _request.decode(line) if is_request else _response.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.ProtocolError(f"not a JSON-RPC 2.0 message: {error}") from error
    if message.jsonrpc != VERSION:
        raise errors.ProtocolError('not a JSON-RPC 2.0 message: "jsonrpc" must be "2.0"')
    return message


def decode_event(request: Request) -> Event:
    """The event that a notification carries.

    Raises:
        ProtocolError: its params are no event.
    """
    return decode_as(request.params, Event)


def decode_as(raw: msgspec.Raw, type_: type[T]) -> T:
    """``raw`` as a value of ``type_``, checked.

    Raises:
        ProtocolError: it is not one; the text says where it differs.
    """
    try:
        return msgspec.json.decode(raw, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.ProtocolError(f"not a {getattr(type_, '__name__', type_)}: {error}") from error


class LineSplitter:
    """Cuts a stream of octets into lines, bounded by :data:`MAX_LINE`."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that ``data`` completes.

        Raises:
            ProtocolError: a line grew past the bound.
        """
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        if len(rest) > MAX_LINE or any(len(line) > MAX_LINE for line in lines):
            raise errors.ProtocolError(f"a line of more than {MAX_LINE} octets")
        for line in lines:
            if line.strip():
                yield bytes(line)


def error_object(error: BaseException) -> ErrorObject:
    """How an error crosses the channel: its text, and its type's name."""
    code = _HOPBED_ERROR
    if isinstance(error, errors.ProtocolError):
        code = _INVALID_REQUEST
    elif isinstance(error, errors.ParameterError):
        code = _INVALID_PARAMS
    return ErrorObject(code=code, message=str(error) or type(error).__name__, data=type(error).__name__)


def error_from(object_: ErrorObject) -> errors.HopbedError:
    """The error that crossed the channel, as the type it was raised as."""
    known = errors.error_types().get(object_.data or "")
    if known is not None:
        return known(object_.message)
    return errors.RemoteError(f"{object_.data}: {object_.message}" if object_.data else object_.message)
