"""Runs probe flows: the receiver first, then the sender; at the end the sender first, then a drain."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import anyio
import anyio.to_thread
import msgspec

from nodes import errors
from nodes.agent import LOG_DIR
from nodes.events import Event, event
from orchestrator.continuity import STALL_MS
from orchestrator.flows.result import FlowResult, read_result
from orchestrator.flows.spec import FlowSpec, check_names
from orchestrator.program import STOP_TIMEOUT, Program, run_program
from orchestrator.runtimes.base import Publish, Runtime
from orchestrator.tasks import single_error

QUIET_SECONDS = 1.0
"""A receiver that misses probes waits this long after the last arrival."""


class _Flow:
    """One flow, from its receiver's start to its result."""

    def __init__(self, runtime: Runtime, spec: FlowSpec, publish: Publish, stall_ms: float) -> None:
        self.spec = spec
        self.started = anyio.Event()
        self.sender_ended = anyio.Event()
        self.stop = anyio.Event()
        self.result: FlowResult | None = None
        self._runtime = runtime
        self._publish = publish
        self._stall_ms = stall_ms
        self._flow_id = secrets.randbits(64) or 1
        self._sender: Program | None = None
        self._receiver: Program | None = None

    async def run(self) -> None:
        """Run until the sender ends by itself or ``stop`` is set; then drain, and set ``result``.

        Raises:
            FlowError: an end of the flow did not start, or ended early.
        """
        cut_off: str | None = "it was cut off"
        try:
            with single_error():
                async with AsyncExitStack() as programs:
                    await self._run(programs)
            cut_off = None
        except errors.FlowError as error:
            cut_off = str(error)
            raise
        finally:
            if self._sender is not None:  # there is evidence, and it is read however the flow ended
                with anyio.CancelScope(shield=True):
                    await self._read(cut_off)

    async def _run(self, programs: AsyncExitStack) -> None:
        spec = self.spec
        receiver = self._receiver = await self._start(
            programs,
            "receive",
            spec.destination,
            [f"--address={spec.destination_address}", f"--port={spec.port}", f"--quiet={QUIET_SECONDS}"],
        )
        sender = self._sender = await self._start(
            programs,
            "send",
            spec.source,
            [
                f"--destination={spec.destination_address}",
                f"--port={receiver.ready.data['port']}",
                f"--source={spec.source_address}",
                f"--rate={spec.rate}",
                *([f"--count={spec.count}"] if spec.count is not None else []),
                *(["--held"] if spec.held else []),
                *([f"--congestion={spec.congestion}"] if spec.congestion is not None else []),
            ],
        )
        self._say("flow.started", sender.ready.time_ns, rate=spec.rate, size=spec.size)
        self.started.set()
        await self._while_it_goes(sender, receiver)
        with self._blame("sender", spec.source):
            sent = await sender.stop()
        self.sender_ended.set()
        await receiver.tell({"expected": sent.data["handed_over"]})
        with self._blame("receiver", spec.destination):
            with anyio.move_on_after(QUIET_SECONDS + STOP_TIMEOUT):
                await receiver.wait()
            await receiver.stop()

    async def begin(self) -> None:
        """Let a flow that is held send from now on."""
        if self._sender is not None and self.spec.held:
            await self._sender.tell({"begin": True})
            self._say("flow.begun", None)

    async def _start(
        self, programs: AsyncExitStack, program: str, node: str, arguments: Sequence[str]
    ) -> Program:
        log = LOG_DIR / self._log_name(program)
        argv = [
            *self._runtime.python,
            *("-m", self.spec.transport.program(program), self.spec.transport.value),
            *(f"--flow-id={self._flow_id:016x}", f"--size={self.spec.size}", f"--log={log}"),
            *arguments,
        ]
        end = "sender" if program == "send" else "receiver"
        running = run_program(
            f"{end} of flow {self.spec.name}",
            self._runtime.command(node, argv),
            on_event=partial(self._pass_on, node),
        )
        with self._blame(end, node):
            return await programs.enter_async_context(running)

    def _log_name(self, program: str) -> str:
        return f"{self.spec.name}.{'sent' if program == 'send' else 'received'}"

    async def _while_it_goes(self, sender: Program, receiver: Program) -> None:
        async with anyio.create_task_group() as watch:

            async def until_stop() -> None:
                await self.stop.wait()
                watch.cancel_scope.cancel()

            async def until_sender_ends() -> None:
                with self._blame("sender", self.spec.source):
                    await sender.wait()
                watch.cancel_scope.cancel()

            async def receiver_goes_on() -> None:
                with self._blame("receiver", self.spec.destination):
                    await receiver.wait()
                    raise errors.NodeError("ended before the sender")

            watch.start_soon(until_stop)
            watch.start_soon(until_sender_ends)
            watch.start_soon(receiver_goes_on)

    @contextlib.contextmanager
    def _blame(self, end: str, node: str) -> Iterator[None]:
        """Say of an error which flow, end and node it comes from."""
        try:
            with single_error():
                yield
        except errors.HopbedError as error:
            raise errors.FlowError(f"flow {self.spec.name}, {end} in {node}: {error}") from error

    async def _read(self, cut_off: str | None) -> None:
        sender = self._sender.done if self._sender else None
        receiver = self._receiver.done if self._receiver else None
        reading = partial(
            read_result,
            self.spec,
            self._flow_id,
            sent=self._runtime.log_dir(self.spec.source) / self._log_name("send"),
            received=self._runtime.log_dir(self.spec.destination) / self._log_name("receive"),
            sender=sender.data if sender else {},
            receiver=receiver.data if receiver else {},
            stall_ms=self._stall_ms,
            cut_off=cut_off,
        )
        result = self.result = await anyio.to_thread.run_sync(reading)
        found = result.continuity
        self._say(
            "flow.stopped",
            sender.time_ns if sender else None,
            sent=found.sent,
            received=found.received,
            lost=found.lost,
            longest_gap_ms=found.longest_gap_ms,
            interruptions=len(found.interruptions),
            doubts=list(result.doubts),
        )

    def _say(self, kind: str, time_ns: int | None, **data: object) -> None:
        spec = self.spec
        self._publish(
            event(
                kind,
                node=spec.source,
                time_ns=time_ns,
                flow=spec.name,
                destination=spec.destination,
                transport=spec.transport.value,
                **data,
            )
        )

    def _pass_on(self, node: str, said: Event) -> None:
        self._publish(msgspec.structs.replace(said, node=node, data={**said.data, "flow": self.spec.name}))


class Flows:
    """Flows that run side by side."""

    def __init__(self, flows: Sequence[_Flow]) -> None:
        self._flows = flows

    @property
    def results(self) -> tuple[FlowResult, ...]:
        """The results of the flows that have ended, in the order of their specs.

        Also of those that did not end in order, as far as their evidence goes: ``cut_off`` says so.
        """
        return tuple(flow.result for flow in self._flows if flow.result is not None)

    async def wait_sent(self) -> None:
        """Wait until every sender has ended by itself, having sent its ``count``."""
        for flow in self._flows:
            await flow.sender_ended.wait()

    async def begin(self) -> None:
        """Let the flows that are held send from now on."""
        for flow in self._flows:
            await flow.begin()

    async def _wait_started(self) -> None:
        for flow in self._flows:
            await flow.started.wait()

    def _stop(self) -> None:
        for flow in self._flows:
            flow.stop.set()


@asynccontextmanager
async def run_flows(
    runtime: Runtime, specs: Sequence[FlowSpec], *, publish: Publish, stall_ms: float = STALL_MS
) -> AsyncIterator[Flows]:
    """Run flows side by side; within the context all of them are under way.

    Leaving it stops the senders, lets what is under way arrive, and reads the results. Publishes
    ``flow.started``, ``flow.begun`` of a flow that was held, ``flow.stopped``, and what the programs say
    meanwhile of a TCP connection: ``flow.stalled``, ``flow.resumed`` and ``flow.broken``.

    Args:
        stall_ms: the shortest outage without loss that is an interruption.

    Raises:
        ParameterError: two flows have one name.
        FlowError: an end of a flow did not start, or ended early; the text says which, where and why. One
            that ends early ends the body of the context.
    """
    check_names(specs)
    flows = [_Flow(runtime, spec, publish, stall_ms) for spec in specs]
    running = Flows(flows)
    with single_error():
        async with anyio.create_task_group() as tasks:
            for flow in flows:
                tasks.start_soon(flow.run)
            await running._wait_started()
            yield running
            running._stop()
