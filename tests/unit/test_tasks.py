"""Errors of background tasks come out as themselves."""

import anyio
import pytest

from nodes.errors import FlowError, NodeError
from orchestrator.tasks import background, gather, single_error

pytestmark = pytest.mark.anyio


async def fail(error):
    raise error


async def test_what_the_body_raises_comes_out_as_itself():
    with pytest.raises(KeyError):
        async with background() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            raise KeyError("x")


async def test_what_a_task_raises_ends_the_body_and_comes_out_as_itself():
    with pytest.raises(NodeError, match="died"):
        async with background() as tasks:
            tasks.start_soon(fail, NodeError("died"))
            await anyio.sleep_forever()


async def test_tasks_end_with_the_body():
    async with background() as tasks:
        tasks.start_soon(anyio.sleep_forever)


async def test_of_several_errors_of_ours_the_first_comes_out():
    with pytest.raises(FlowError, match="sender"), single_error():
        raise ExceptionGroup("both", [FlowError("sender"), ExceptionGroup("inner", [FlowError("receiver")])])


async def test_errors_that_are_not_ours_stay_together():
    with pytest.raises(ExceptionGroup), single_error():
        raise ExceptionGroup("both", [KeyError("x"), FlowError("receiver")])


async def test_gathered_results_are_in_the_order_they_were_asked_for():
    gate = anyio.Event()

    async def slow():
        await gate.wait()
        return "slow"

    async def quick():
        gate.set()
        return "quick"

    assert await gather([slow(), quick()]) == ["slow", "quick"]


async def test_the_first_error_cancels_the_others():
    with pytest.raises(NodeError, match="died"):
        await gather([anyio.sleep_forever(), fail(NodeError("died"))])
