"""The program ``python -m nodes.peer.guard START``; see :mod:`nodes.peer.guard`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import msgspec

from nodes import errors
from nodes.abnormality.machine import Machine
from nodes.control.messages import LineSplitter
from nodes.events import event
from nodes.peer.guard import filter as words
from nodes.peer.guard.guard import Guard
from nodes.peer.guard.nft import Nft
from nodes.peer.guard.orders import ANSWER, AnyOrder, Failed, Know, Release, SetTiming, Start, Tell
from nodes.peer.guard.wire import Wire
from nodes.peer.vici_client import ViciClient
from nodes.program import DONE, READY, run, say

_STDIN = 0


def _say(kind: str, **data: Any) -> None:
    say(event(kind, **data))


async def _obey(guard: Guard, machine: Machine, scope: anyio.CancelScope) -> None:
    """Carry out orders until the end of the standard input, which is the guard's too."""
    lines = LineSplitter()
    while True:
        await anyio.wait_readable(_STDIN)
        data = os.read(_STDIN, 65536)
        if not data:
            scope.cancel()
            return
        for line in lines.feed(data):
            try:
                order = msgspec.json.decode(line, type=AnyOrder)
            except msgspec.DecodeError as error:
                raise errors.ProtocolError(f"not an order: {error}") from None
            _say(ANSWER, id=order.id, **await _carry_out(guard, machine, order))


async def _carry_out(guard: Guard, machine: Machine, order: AnyOrder) -> dict[str, Any]:
    guard.catch_up()
    match order:
        case SetTiming():
            machine.configure(order.timing, order.partner)
        case Know():
            await guard.know(order.partners, order.changed)
        case Release():
            return {"activated": await guard.release(order.partner)}
        case Failed():
            guard.failed(order)
        case Tell():
            return {"partners": msgspec.to_builtins(guard.states())}
    return {}


async def _guard(start: Start) -> None:
    machine = Machine(start.timing)
    machine.know(start.partners)
    for partner, timing in start.timings.items():
        machine.configure(timing, partner)
    with Nft() as nft, Wire() as wire:
        nft.run(words.table())
        async with anyio.create_task_group() as tasks:
            vici, saved = ViciClient(Path(start.vici)), Path(start.snapshot)
            guard = Guard(vici, nft, wire, machine, saved, _say, tasks)
            await tasks.start(guard.run)
            _say(READY, pid=os.getpid())
            await _obey(guard, machine, tasks.cancel_scope)


def main() -> None:
    """Guard until the end of the standard input."""
    try:
        (text,) = sys.argv[1:]
        start = msgspec.json.decode(text, type=Start)
    except (ValueError, msgspec.DecodeError) as error:
        raise errors.ParameterError(f"guard: not a start: {error}") from None
    try:
        anyio.run(_guard, start)
    except BaseExceptionGroup as group:
        raise _innermost(group) from None
    _say(DONE)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    run(main)
