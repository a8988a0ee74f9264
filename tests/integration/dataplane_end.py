"""A data plane in a node, told what to do by a test: one command a line in, answers and events out.

``python dataplane_end.py kernel|userspace`` is the program; :class:`End` is the test's side of it.
"""

from __future__ import annotations

import base64
import collections
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import msgspec

from nodes import errors
from nodes.esp.sa import EspSa, Policy
from nodes.ike.dataplane.base import DataPlaneError, IkeDatagram
from nodes.ike.dataplane.choice import open_dataplane

ROOT = Path(__file__).parents[2]
ARGUMENTS = {
    "install_policy": Policy,
    "install_inbound": EspSa,
    "install_outbound": EspSa,
    "send_ike": IkeDatagram,
}
PATIENCE = float(os.environ.get("HOPBED_PATIENCE", "20"))
"""Seconds that an answer may take; an emulated machine takes more."""


def plain(value):
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def say(**said):
    print(json.dumps(said), flush=True)


async def _obey(plane, line):
    order = json.loads(line)
    verb, argument = order["do"], order.get("with")
    if verb in ARGUMENTS:
        kind = ARGUMENTS[verb]
        argument = msgspec.convert(argument, kind, dec_hook=lambda type_, value: type_(value), strict=False)
    if verb == "usage":
        used = await plane.usage()
        say(answer={f"{direction} {spi}": msgspec.to_builtins(one) for (direction, spi), one in used.items()})
        return
    try:
        await getattr(plane, verb)(*([] if argument is None else [argument]))
    except DataPlaneError as error:
        say(refused=str(error))
    else:
        say(answer=None)


async def _events(plane):
    async for event in plane.events:
        fields = msgspec.to_builtins(event, enc_hook=str)
        say(event={"kind": type(event).__name__, **fields})


async def _ike(plane):
    async for message in plane.ike_messages:
        say(event={"kind": "Ike", **msgspec.to_builtins(message, enc_hook=str)})


async def program(wanted):
    try:
        async with open_dataplane(wanted) as plane, anyio.create_task_group() as tasks:
            say(answer=plane.name)
            tasks.start_soon(_events, plane)
            tasks.start_soon(_ike, plane)
            rest = b""
            while True:
                await anyio.wait_readable(0)
                data = os.read(0, 65536)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    await _obey(plane, line)
            tasks.cancel_scope.cancel()
    except* errors.MachineError as group:
        say(lacking=str(group.exceptions[0]))
    except* DataPlaneError as group:
        say(died=str(group.exceptions[0]))


class Refused(Exception):
    pass


class Died(Exception):
    pass


class End:
    """The test's side."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.events = collections.deque()
        self._rest = b""

    def do(self, verb, argument=None):
        """Have the data plane do something, and return its answer."""
        order = {"do": verb, "with": msgspec.to_builtins(argument, enc_hook=str)}
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self):
        while True:
            said = self._line(PATIENCE)
            assert said is not None, "no answer"
            if "answer" in said:
                return said["answer"]
            self._take(said)

    def event(self, kind, seconds=PATIENCE):
        """The next event of this kind, past or to come; None where there is none for so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            for event in self.events:
                if event["kind"] == kind:
                    self.events.remove(event)
                    return event
            said = self._line(deadline - time.monotonic())
            if said is None:
                return None
            self._take(said)

    def usage(self, direction, spi):
        return self.do("usage").get(f"{direction} {spi}")

    def _take(self, said):
        if "event" in said:
            self.events.append(said["event"])
        else:
            if "lacking" in said:
                import pytest  # the program does without

                pytest.skip(said["lacking"])
            for word, kind in (("refused", Refused), ("died", Died)):
                if word in said:
                    raise kind(said[word])

    def _line(self, seconds):
        while b"\n" not in self._rest:
            if not select.select([self.process.stdout], [], [], max(seconds, 0))[0]:
                return None
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, "the program is gone"
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)


@contextmanager
def dataplane_end(nodes, node, wanted) -> Iterator[End]:
    """A data plane in a node; the test is skipped where it does not work there."""
    argv = nodes.command(node, [sys.executable, __file__, wanted])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT
    ) as process:
        try:
            end = End(process)
            end.answer()
            yield end
        finally:
            if process.poll() is None:
                process.stdin.close()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


if __name__ == "__main__":
    anyio.run(program, sys.argv[1])
