"""Task groups whose caller sees the error that happened, not a group of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import anyio
import anyio.abc

T = TypeVar("T")


@contextmanager
def single_error() -> Iterator[None]:
    """Raise the only error of an exception group in place of the group.

    A context manager that runs a background task is a task group, and anyio wraps what its body raises in a
    group; whoever wrote ``except NegotiationError`` around it means the error itself.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from error.__cause__


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
