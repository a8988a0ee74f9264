"""Task groups whose caller sees the error that happened, not a group of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import anyio
import anyio.abc

from nodes.errors import HopbedError

T = TypeVar("T")


@contextmanager
def single_error() -> Iterator[None]:
    """Raise the only error of an exception group in place of the group; of several of ours, the first.

    A context manager that runs a background task is a task group, and anyio wraps what its body raises in a
    group; whoever wrote ``except NegotiationError`` around it means the error itself.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        if len(leaves) == 1 or all(isinstance(leaf, HopbedError) for leaf in leaves):
            raise leaves[0] from leaves[0].__cause__
        raise


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


@asynccontextmanager
async def background() -> AsyncIterator[anyio.abc.TaskGroup]:
    """A task group that is cancelled when its body ends, and raises single errors as themselves."""
    with single_error():
        async with anyio.create_task_group() as tasks:
            yield tasks
            tasks.cancel_scope.cancel()


async def gather(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Await all side by side; their results in order. The first error cancels the others and is raised."""
    pending = list(awaitables)
    results: dict[int, T] = {}

    async def keep(index: int, awaitable: Awaitable[T]) -> None:
        results[index] = await awaitable

    with single_error():
        async with anyio.create_task_group() as tasks:
            for index, awaitable in enumerate(pending):
                tasks.start_soon(keep, index, awaitable)
    return [results[index] for index in range(len(pending))]
