"""A control channel over a real Unix socket: calls, errors, events, strangers and floods."""

import os
import stat
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from nodes import errors
from nodes.control.methods import Methods
from nodes.control.server import MAX_CLIENTS, MOST_UNHEARD, ControlServer, private_listener
from nodes.events import event
from orchestrator.control import connect
from orchestrator.tasks import background

pytestmark = pytest.mark.anyio


class Twice(msgspec.Struct):
    number: int


class Tally(msgspec.Struct):
    total: int


@asynccontextmanager
async def serving(path, handlers, owner=None, *, awaited=False):
    server = ControlServer(Methods(handlers), owner=os.getuid() if owner is None else owner, awaited=awaited)
    async with private_listener(path, os.getuid()) as listener, background() as tasks:
        tasks.start_soon(server.serve, listener)
        yield server


async def double(twice: Twice) -> Tally:
    return Tally(total=2 * twice.number)


async def fail() -> None:
    raise errors.NegotiationError("no proposal chosen")


def ignore(_):
    pass


async def test_a_call_is_answered_with_its_typed_result(tmp_path):
    async with serving(tmp_path / "s", {"double": double}), connect("n", tmp_path / "s", ignore) as client:
        assert await client.call("double", Twice(21), Tally) == Tally(42)


async def test_an_error_arrives_with_its_type_and_text(tmp_path):
    async with serving(tmp_path / "s", {"fail": fail}), connect("n", tmp_path / "s", ignore) as client:
        with pytest.raises(errors.NegotiationError, match="no proposal chosen"):
            await client.call("fail", None, type(None))


async def test_a_parameter_of_the_wrong_type_is_refused_with_its_place(tmp_path):
    async with serving(tmp_path / "s", {"double": double}), connect("n", tmp_path / "s", ignore) as client:
        with pytest.raises(
            errors.ParameterError, match=r"double: Expected `int`, got `str` - at `\$\.number`"
        ):
            await client.call("double", {"number": "x"}, Tally)


async def test_a_method_that_does_not_exist_is_named_with_those_that_do(tmp_path):
    async with serving(tmp_path / "s", {"double": double}), connect("n", tmp_path / "s", ignore) as client:
        with pytest.raises(errors.ProtocolError, match="no method 'triple' in this node; it has double"):
            await client.call("triple", None, type(None))


async def test_calls_are_answered_as_they_end_not_in_their_order(tmp_path):
    gate, ended = anyio.Event(), []

    async def slow() -> str:
        await gate.wait()
        return "slow"

    async def quick() -> str:
        gate.set()
        return "quick"

    async with (
        serving(tmp_path / "s", {"slow": slow, "quick": quick}),
        connect("n", tmp_path / "s", ignore) as client,
        anyio.create_task_group() as tasks,
    ):

        async def call(name):
            ended.append(await client.call(name, None, str))

        tasks.start_soon(call, "slow")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(call, "quick")
    assert sorted(ended) == ["quick", "slow"]


async def test_what_clears_up_after_a_cancellation_still_calls(tmp_path):
    answers = []
    async with serving(tmp_path / "s", {"double": double}):
        with anyio.CancelScope() as cancelled:
            async with connect("n", tmp_path / "s", ignore) as client:
                cancelled.cancel()
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        answers.append(await client.call("double", Twice(21), Tally))
    assert answers == [Tally(42)]


async def test_a_client_that_comes_back_hears_what_happened_until_then_once(tmp_path):
    before, after = (event("terminal.restarted", node="n", pid=number) for number in (1, 2))
    first, second = [], []
    async with serving(tmp_path / "s", {"double": double}, awaited=True) as server:
        server.publish(before)
        async with connect("n", tmp_path / "s", first.append) as client:
            await client.call("double", Twice(1), Tally)
            server.publish(after)
            async with connect("n", tmp_path / "s", second.append) as other:
                await other.call("double", Twice(1), Tally)
            await client.call("double", Twice(1), Tally)
    assert (first, second) == ([before, after], [])


async def test_what_waits_for_a_client_to_come_back_is_bounded(tmp_path):
    heard = []
    async with serving(tmp_path / "s", {"double": double}, awaited=True) as server:
        for number in range(MOST_UNHEARD + 1):
            server.publish(event("hop.started", node="n", hop=number))
        async with connect("n", tmp_path / "s", heard.append) as client:
            await client.call("double", Twice(1), Tally)
    assert [one.data["hop"] for one in heard] == list(range(MOST_UNHEARD))


async def test_every_client_gets_every_event(tmp_path):
    said = event("child-sa.installed", node="n", spi="c0ffee00")
    got, both = [], anyio.Event()

    def take(arrived):
        got.append(arrived)
        if len(got) == 2:
            both.set()

    async with (
        serving(tmp_path / "s", {"double": double}) as server,
        connect("n", tmp_path / "s", take) as one,
        connect("n", tmp_path / "s", take) as other,
    ):
        for client in (one, other):  # both are served by now
            await client.call("double", Twice(1), Tally)
        server.publish(said)
        await both.wait()
    assert got == [said, said]


async def test_a_node_that_ends_ends_the_call(tmp_path):
    async def never() -> None:
        await anyio.sleep_forever()

    over = anyio.Event()

    async def node(*, task_status):
        async with serving(tmp_path / "s", {"never": never}):
            task_status.started()
            await over.wait()

    async with anyio.create_task_group() as tasks:
        await tasks.start(node)
        async with connect("n", tmp_path / "s", ignore) as client:
            tasks.start_soon(_expect_end, client)
            await anyio.wait_all_tasks_blocked()
            over.set()


async def _expect_end(client):
    with pytest.raises(errors.ControlClosedError):
        await client.call("never", None, type(None))


async def test_the_socket_belongs_to_its_owner_alone(tmp_path):
    async with serving(tmp_path / "s", {}):
        mode = (tmp_path / "s").stat()
        assert stat.S_IMODE(mode.st_mode) == 0o600
        assert mode.st_uid == os.getuid()
    assert list(tmp_path.iterdir()) == []


ASK = """
import socket, sys
channel = socket.socket(socket.AF_UNIX)
channel.connect(sys.argv[1])
channel.settimeout(30)
try:
    channel.sendall(b'{"jsonrpc":"2.0","method":"double","params":{"number":1},"id":1}\\n')
    print(channel.recv(100))
except ConnectionError:
    print(b"")
"""


async def test_another_user_is_turned_away_by_the_kernels_word(tmp_path):
    """Even where the file's mode would let it in."""
    owner, other = (os.getuid() + 1, []) if os.getuid() else (0, ["setpriv", "--reuid", "65534"])
    with tempfile.TemporaryDirectory(prefix="hopbed-test-") as folder:
        Path(folder).chmod(0o755)
        async with serving(Path(folder, "s"), {"double": double}, owner=owner):
            Path(folder, "s").chmod(0o666)
            asked = await anyio.run_process([*other, "/usr/bin/python3", "-c", ASK, f"{folder}/s"])
    assert asked.stdout.strip() == b"b''"


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"jsonrpc":"2.0","method":"double"}\n'])
async def test_a_stream_that_breaks_the_protocol_is_told_why_and_ended(tmp_path, line):
    async with serving(tmp_path / "s", {"double": double}):
        async with await anyio.connect_unix(tmp_path / "s") as stream:
            await stream.send(line)
            assert b"ProtocolError" in await stream.receive()
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
        await _still_serves(tmp_path / "s")


async def test_a_line_without_end_is_cut_off(tmp_path):
    async with serving(tmp_path / "s", {"double": double}):
        async with await anyio.connect_unix(tmp_path / "s") as stream:
            with pytest.raises(anyio.BrokenResourceError):
                while True:
                    await stream.send(b"x" * 65536)
        await _still_serves(tmp_path / "s")


async def _still_serves(path):
    async with connect("n", path, ignore) as client:
        assert await client.call("double", Twice(1), Tally) == Tally(2)


async def test_more_clients_than_the_bound_are_turned_away(tmp_path):
    async with serving(tmp_path / "s", {"double": double}), anyio.create_task_group():
        streams = [await anyio.connect_unix(tmp_path / "s") for _ in range(MAX_CLIENTS + 1)]
        with pytest.raises(anyio.EndOfStream):
            await streams[-1].receive()
        for stream in streams:
            await stream.aclose()


async def test_nobody_at_the_socket_is_one_error(tmp_path):
    with pytest.raises(errors.ControlClosedError, match="n: no control channel at"):
        async with connect("n", tmp_path / "s", ignore):
            pass
