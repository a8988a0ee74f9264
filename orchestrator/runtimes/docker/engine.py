"""Calls to the Docker Engine, side by side.

The SDK does not say that its client may be shared between threads (it is a requests session with mutable
state), so every call has a client of its own, from a pool. It is imported here, in one thread: threads that
import parts of it side by side may wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from docker import APIClient
from docker.errors import APIError, DockerException
from requests.exceptions import ConnectionError as RequestsConnectionError

from nodes import errors
from orchestrator.runtimes.docker.listening import engine_host

SIDE_BY_SIDE = 8
"""Calls at once: more make an engine no faster."""
TIMEOUT = 120
"""Seconds that a call may take: the engine of a machine that starts many containers at once is slow."""

T = TypeVar("T")


class Engine:
    """The engine at ``host``; usable from any number of threads and tasks.

    Attributes:
        host: the engine's address, ``unix://`` and a path.
    """

    def __init__(self, host: str | None = None) -> None:
        self.host = host or engine_host()
        self._idle: queue.SimpleQueue[APIClient] = queue.SimpleQueue()
        self._version = ""
        self._turns: anyio.Semaphore | None = None
        self._calls: set[asyncio.Task[Any]] = set()

    @contextmanager
    def client(self) -> Iterator[APIClient]:
        """A client that nobody else uses meanwhile.

        Raises:
            MachineError: no engine answers, or this user may not use it; the text holds what mends it.
        """
        try:
            client = self._take()
        except DockerException as error:
            raise unreachable(error) from error
        try:
            yield client
        except RequestsConnectionError as error:
            client.close()
            raise unreachable(error) from error
        finally:
            self._idle.put(client)

    def _take(self) -> APIClient:
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        client = APIClient(base_url=self.host, version=self._version or "auto", timeout=TIMEOUT)
        self._version = client.api_version
        return client

    async def run(self, call: Callable[[APIClient], T]) -> T:
        """Run ``call`` in a thread, with a client, when it is its turn. Once begun it runs to its end.

        A cancelled caller waits for that end too, unless the event loop itself cancels it, as on Ctrl-C; then
        :meth:`settle` waits for it.

        Raises:
            MachineError: as :meth:`client`.
        """
        if self._turns is None:
            self._turns = anyio.Semaphore(SIDE_BY_SIDE)
        async with self._turns:
            limiter = anyio.CapacityLimiter(1)  # its own: the turns are given above
            in_thread = asyncio.create_task(anyio.to_thread.run_sync(self._run, call, limiter=limiter))
            self._calls.add(in_thread)
            in_thread.add_done_callback(self._forget)
            with anyio.CancelScope(shield=True):
                await asyncio.wait([in_thread])
            return in_thread.result()

    def _forget(self, call: asyncio.Task[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # nobody may be there any more to hear it

    async def settle(self) -> None:
        """Wait until no call is under way."""
        while self._calls:
            await asyncio.wait(self._calls)

    def _run(self, call: Callable[[APIClient], T]) -> T:
        with self.client() as client:
            return call(client)

    def close(self) -> None:
        """Close the connections that no call uses."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()


def unreachable(error: BaseException) -> errors.MachineError:
    """Why an engine could not be talked to, with what mends it."""
    if "PermissionError" in str(error) or isinstance(error, PermissionError):
        return errors.MachineError(
            "this user may not use the Docker Engine: run `sudo usermod -aG docker $USER`, then log in again"
        )
    return errors.MachineError("no Docker Engine answers: run `make engine`")


def create_container(client: APIClient, config: Mapping[str, Any], name: str | None = None) -> str:
    """Create a container of an Engine API configuration; returns its id.

    Raises:
        APIError: the engine refused.
    """
    create: Any = client.create_container_from_config  # which has no types
    return str(create(dict(config), name)["Id"])


def explain(error: APIError) -> str:
    """The engine's own words for an error."""
    return str(error.explanation or error).strip()
