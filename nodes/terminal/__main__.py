"""The hop daemon: ``python -m nodes.terminal --state FILE [--interface NAME] [--dad POLICY]``, in a node.

It speaks JSON-RPC lines on its standard input and output and ends with its input;
:mod:`nodes.terminal.daemon` runs it. What it has put into the kernel stays when it ends: the sockets of the
node live on it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from nodes import INTERFACE, errors
from nodes.control.messages import (
    LineSplitter,
    Request,
    decode,
    encode_error,
    encode_event,
    encode_result,
)
from nodes.control.methods import Methods
from nodes.events import event
from nodes.program import FAILED, READY
from nodes.terminal.addresses import Addresses
from nodes.terminal.carriage import Messages
from nodes.terminal.core import Terminal
from nodes.terminal.data_plane import DataPlane
from nodes.terminal.executor import Executor
from nodes.terminal.inventory import Inventory
from nodes.terminal.methods import TerminalMethods
from nodes.terminal.path_mtu import PathMtus
from nodes.terminal.plan import Dad
from nodes.terminal.sockets import SocketList, process_of
from nodes.terminal.state_file import StateFile

NICENESS = -15
"""A hop that waits for the processor behind the node's applications would keep them waiting in turn."""
INVENTORY_PERIOD = 0.25
"""Seconds after which services are looked for at the latest."""
_CHUNK = 65_536


def publish(kind: str, **data: Any) -> None:
    """Put an event on the stream: a line on the standard output."""
    _write(encode_event(event(kind, **data)))


def _write(line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(sys.stdout.fileno(), rest) :]


async def serve(arguments: argparse.Namespace) -> None:
    """Be the daemon until the standard input ends."""
    async with AsyncExitStack() as stack:
        plane = stack.enter_context(DataPlane())
        sockets = stack.enter_context(SocketList())
        messages = stack.enter_context(Messages(arguments.interface))
        path_mtus = stack.enter_context(PathMtus())
        addresses = await stack.enter_async_context(
            Addresses(arguments.interface, dad=Dad(arguments.dad) if arguments.dad else None)
        )
        core = Terminal(octets=os.urandom, random=random.Random(), interface=arguments.interface)
        inventory = Inventory(process_of)
        executor = Executor(
            core=core,
            addresses=addresses,
            plane=plane,
            messages=messages,
            sockets=sockets,
            inventory=inventory,
            path_mtus=path_mtus,
            state=StateFile(arguments.state),
            publish=publish,
        )
        async with anyio.create_task_group() as tasks:

            async def begin() -> None:
                await executor.begin()
                tasks.start_soon(_follow_addresses, executor, addresses)
                tasks.start_soon(executor.tick_on)
                tasks.start_soon(_look_around, executor)
                tasks.start_soon(_hear_mtus, executor, path_mtus)
                for one in messages.readable:
                    tasks.start_soon(_listen, executor, messages, one)

            methods = TerminalMethods(core=core, executor=executor, addresses=addresses, begin=begin)
            _write(encode_event(event(READY)))
            await _answer(Methods(methods.handlers()))
            tasks.cancel_scope.cancel()


async def _follow_addresses(executor: Executor, addresses: Addresses) -> None:
    async for change in addresses.changes():
        await executor.address_changed(change)


async def _look_around(executor: Executor) -> None:
    while True:
        await anyio.sleep(INVENTORY_PERIOD)
        await executor.look(age=int(INVENTORY_PERIOD * 0.5e9))


async def _listen(executor: Executor, messages: Messages, readable: socket.socket) -> None:
    while True:
        await anyio.wait_readable(readable)
        for received in messages.received(readable):
            await executor.hear(received)
        for error in messages.errors(readable):
            await executor.hear_error(error)
        await anyio.lowlevel.checkpoint()


async def _hear_mtus(executor: Executor, path_mtus: PathMtus) -> None:
    while True:
        await anyio.wait_readable(path_mtus.readable)
        for heard in path_mtus.heard():
            await executor.too_big(heard)


async def _answer(methods: Methods) -> None:
    """Answer the calls on the standard input, side by side, to its end."""
    splitter = LineSplitter()
    async with anyio.create_task_group() as calls:
        os.set_blocking(sys.stdin.fileno(), False)
        while True:
            await anyio.wait_readable(sys.stdin.fileno())
            try:
                data = os.read(sys.stdin.fileno(), _CHUNK)
            except BlockingIOError:
                continue
            if not data:
                calls.cancel_scope.cancel()
                return
            for line in splitter.feed(data):
                said = decode(line)
                if isinstance(said, Request) and said.id is not None:
                    calls.start_soon(_call, methods, said, said.id)


async def _call(methods: Methods, request: Request, number: int) -> None:
    try:
        line = encode_result(number, await methods.call(request))
    except Exception as error:  # whatever it is, the caller gets its type and text
        line = encode_error(number, error)
    _write(line)


def main(argv: Sequence[str] | None = None) -> None:
    """The program's entry point."""
    parser = argparse.ArgumentParser(prog="python -m nodes.terminal")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--interface", default=INTERFACE)
    parser.add_argument("--dad", choices=[dad.value for dad in Dad])
    arguments = parser.parse_args(argv)
    with contextlib.suppress(OSError):  # only root in the machine's own user namespace may
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
        Path("/proc/self/autogroup").write_text(
            str(NICENESS)
        )  # where the kernel weighs sessions, not processes
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for whoever started us
    try:
        anyio.run(serve, arguments)
    except (errors.HopbedError, OSError, BaseExceptionGroup) as error:
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        name = type(cause).__name__ if isinstance(cause, errors.HopbedError) else "NodeError"
        _write(encode_event(event(FAILED, type=name, text=str(cause))))
        raise


if __name__ == "__main__":
    main()
