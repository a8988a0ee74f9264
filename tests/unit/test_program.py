"""The contract of a program in a node, with real processes."""

import os
import signal
import sys

import anyio
import pytest

from nodes import errors
from orchestrator.program import run_program

pytestmark = pytest.mark.anyio

WELL_BEHAVED = """
import sys
from nodes.events import event
from nodes.program import run, say
def main():
    say(event("ready", port=7))
    say(event("flow.stalled", ms=5))
    sys.stdin.read()
    say(event("done", sent=3))
run(main)
"""


def python(script):
    return [sys.executable, "-c", script]


async def test_a_program_is_ready_speaks_and_is_done_at_the_end_of_its_input():
    said = []
    async with run_program("p", python(WELL_BEHAVED), on_event=said.append) as program:
        assert program.ready.data == {"port": 7}
        assert (await program.stop()).data == {"sent": 3}
    assert [event.kind for event in said] == ["flow.stalled"]


async def test_an_error_of_a_program_arrives_as_its_own_type():
    main = "def main(): raise errors.MachineError('no TUN')"
    script = f"from nodes import errors, program\n{main}\nprogram.run(main)"
    with pytest.raises(errors.MachineError, match="no TUN"):
        async with run_program("p", python(script)):
            pytest.fail("it was never ready")


async def test_an_operating_systems_error_is_a_node_error():
    script = "from nodes import program\ndef main(): open('/nothing')\nprogram.run(main)"
    with pytest.raises(errors.NodeError, match="No such file or directory: '/nothing'"):
        async with run_program("p", python(script)):
            pytest.fail("it was never ready")


async def test_a_program_that_just_ends_is_told_with_its_status_and_last_words():
    with pytest.raises(errors.NodeError, match=r"p: ended with status 3: gone"):
        async with run_program("p", python("import sys; print('gone', file=sys.stderr); sys.exit(3)")):
            pytest.fail("it was never ready")


async def test_what_is_no_event_is_a_protocol_error():
    with pytest.raises(errors.ProtocolError, match="p: "):
        async with run_program("p", python("print('hello')")):
            pytest.fail("it was never ready")


async def test_a_program_that_says_more_than_a_pipe_holds_on_its_standard_error_goes_on():
    script = WELL_BEHAVED.replace("sys.stdin.read()", "sys.stderr.write('x' * 1_000_000); sys.stdin.read()")
    async with run_program("p", python(script)) as program:
        assert (await program.stop()).data == {"sent": 3}


async def test_an_error_in_the_body_comes_out_as_itself_and_the_program_is_gone():
    with pytest.raises(errors.NegotiationError):
        async with run_program("p", python(WELL_BEHAVED)) as program:
            pid = program._process.pid
            raise errors.NegotiationError("no proposal chosen")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_cancelled_owner_still_hears_how_the_program_ended():
    with anyio.CancelScope() as scope:
        async with run_program("p", python(WELL_BEHAVED)) as program:
            scope.cancel()
            await anyio.sleep_forever()
    assert program.done.data == {"sent": 3}


async def test_a_program_that_is_killed_is_told_as_such():
    async with run_program("p", python(WELL_BEHAVED)) as program:
        os.kill(program._process.pid, signal.SIGKILL)
        with pytest.raises(errors.NodeError, match="p: ended with status -9"):
            await program.wait()


async def test_a_program_that_does_not_end_is_killed_in_the_end():
    stubborn = WELL_BEHAVED.replace("sys.stdin.read()", "import threading; threading.Event().wait()")
    async with run_program("p", python(stubborn)) as program:
        with pytest.raises(errors.NodeError, match="did not end within 0.1 s"):
            await program.stop(0.1)
        os.kill(program._process.pid, signal.SIGKILL)


async def test_waiting_for_an_end_is_over_with_the_end():
    end = anyio.Event()
    async with run_program("p", python(WELL_BEHAVED)) as program:
        end.set()
        await program.until(end)
        assert program.done is None


async def test_waiting_for_an_end_raises_what_the_program_dies_of_before():
    async with run_program("p", python(WELL_BEHAVED)) as program:
        os.kill(program._process.pid, signal.SIGKILL)
        with pytest.raises(errors.NodeError, match="p: ended with status -9"):
            await program.until(anyio.Event())
