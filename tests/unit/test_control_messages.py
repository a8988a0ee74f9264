"""The control channel's messages: what crosses arrives as it left, and what is hostile is refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import errors
from nodes.control import messages
from nodes.events import Event, event


def test_an_error_of_the_tree_crosses_with_its_type_and_text():
    line = messages.encode_error(7, errors.NegotiationError("peer-a: no proposal chosen"))
    response = messages.decode(line)
    assert isinstance(response, messages.Response)
    assert response.error is not None
    raised = messages.error_from(response.error)
    assert type(raised) is errors.NegotiationError
    assert str(raised) == "peer-a: no proposal chosen"


def test_an_error_of_an_unknown_type_crosses_as_remote_error_with_its_name():
    raised = messages.error_from(messages.error_object(ZeroDivisionError("division by zero")))
    assert type(raised) is errors.RemoteError
    assert str(raised) == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("name", sorted(errors.error_types()))
def test_every_type_of_the_tree_crosses(name):
    original = errors.error_types()[name]("text")
    assert type(messages.error_from(messages.error_object(original))) is type(original)


def test_an_event_crosses_whole():
    sent = event("child-sa.rekeyed", node="peer-a", time_ns=5, spi_in="c0ffee00")
    request = messages.decode(messages.encode_event(sent))
    assert isinstance(request, messages.Request)
    assert request.id is None
    assert messages.decode_event(request) == sent


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"jsonrpc":"1.0","method":"x","id":1}',
        b'{"method":"x","id":1}',
        b'{"jsonrpc":"2.0","method":5,"id":1}',
        b'{"jsonrpc":"2.0","method":"x","id":"one"}',
        b'{"jsonrpc":"2.0","id":1,"error":"text"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_rpc_is_a_protocol_error(line):
    with pytest.raises(errors.ProtocolError):
        messages.decode(line)


@given(st.binary(max_size=300))
def test_no_line_raises_anything_but_a_protocol_error(line):
    try:
        messages.decode(line)
    except errors.ProtocolError:
        pass


@given(st.lists(st.binary(min_size=1).filter(lambda line: line.strip() and b"\n" not in line)), st.data())
def test_lines_are_found_however_they_are_cut(lines, data):
    stream = b"".join(line + b"\n" for line in lines)
    splitter = messages.LineSplitter()
    found = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += splitter.feed(stream[:size])
        stream = stream[size:]
    assert found == lines


def test_a_line_that_never_ends_is_refused_at_the_bound():
    splitter = messages.LineSplitter()
    chunk = b"x" * 65536
    with pytest.raises(errors.ProtocolError):
        for _ in range(messages.MAX_LINE // len(chunk) + 2):
            list(splitter.feed(chunk))


def test_a_result_of_the_wrong_type_says_where_it_differs():
    with pytest.raises(errors.ProtocolError, match=r"time_ns"):
        messages.decode_as(msgspec.Raw(b'{"time_ns": "x", "node": "", "kind": "k"}'), Event)
