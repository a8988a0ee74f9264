"""Captures of a run, side by side: started before its first packet, ended after its last one."""

from __future__ import annotations

import dataclasses
import errno
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec

from nodes import INTERFACE, errors
from nodes.agent import LOG_DIR
from nodes.events import event
from orchestrator.evidence.run_file import CapturedInterface, CaptureFile
from orchestrator.program import Program, run_program
from orchestrator.runtimes.base import BRIDGE, Publish, Runtime
from orchestrator.tasks import single_error

_FILE = "capture.pcapng"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where to capture: a node, or :data:`~orchestrator.runtimes.base.BRIDGE`.

    ``interfaces`` is by default the bridge's; in a node, :func:`capture` finds every interface that is up
    when it starts, and a single capture takes the one on the bridge. ``filter`` is a libpcap filter and
    ``snaplen`` the octets of a packet to keep; by default everything.
    """

    name: str
    interfaces: tuple[str, ...] = ()
    filter: str | None = None
    snaplen: int | None = None

    def arguments(self, runtime: Runtime) -> list[str]:
        """The arguments of :mod:`nodes.capture` for this place, but for the file."""
        default = runtime.bridge_interface() if self.name == BRIDGE else INTERFACE
        arguments = [f"--interface={interface}" for interface in self.interfaces or (default,)]
        arguments += [f"--filter={self.filter}"] if self.filter is not None else []
        arguments += [f"--snaplen={self.snaplen}"] if self.snaplen is not None else []
        return arguments


class _LinkInformation(msgspec.Struct, frozen=True):
    info_kind: str = ""


class _Link(msgspec.Struct, frozen=True):
    """An interface, as ``ip -json -details link`` says; nameless for one that was not asked for."""

    ifname: str = ""
    link_type: str = ""
    linkinfo: _LinkInformation = _LinkInformation()


async def interfaces_up(runtime: Runtime, node: str) -> tuple[str, ...]:
    """Every interface of a node that is up now and leads out of it: no loopback, and no dummy.

    A tunnel's packets leave and arrive in clear on its own interface, such as a TUN, and encrypted on the
    link below; evidence takes both.

    Raises:
        CaptureError: the node does not say.
    """
    asked = runtime.command(node, ["ip", "-json", "-details", "link", "show", "up"])
    done = await anyio.run_process(asked, check=False)
    try:
        links = msgspec.json.decode(done.stdout, type=list[_Link])
    except msgspec.DecodeError:
        said = done.stderr.decode(errors="replace").strip() or f"ip ended with status {done.returncode}"
        raise errors.CaptureError(f"{node} does not say which interfaces it has: {said}") from None
    return tuple(
        link.ifname
        for link in links
        if link.ifname and link.link_type != "loopback" and link.linkinfo.info_kind != "dummy"
    )


class _Done(msgspec.Struct, frozen=True):
    """What :mod:`nodes.capture` says at its end."""

    packets: int
    dropped: int
    interfaces: tuple[CapturedInterface, ...]
    clock_offset_ns: int


class Captures:
    """Captures that run, or ran.

    Attributes:
        files: by place, once they ended, as :class:`~orchestrator.evidence.folder.Evidence` wants them.
        failures: why a capture ended early, by place.
    """

    def __init__(self, runtime: Runtime, folder: Path, publish: Publish) -> None:
        self.files: dict[str, CaptureFile] = {}
        self.failures: dict[str, errors.HopbedError] = {}
        self._runtime = runtime
        self._folder = folder
        self._publish = publish
        self._end = anyio.Event()

    def path(self, place: str) -> Path:
        """The capture file of a place; it grows while the capture runs."""
        return self._folder / f"{place}.pcapng"

    def end(self) -> None:
        """Tell every capture to end."""
        self._end.set()

    async def capture(self, place: Place, started: anyio.Event) -> None:
        """Capture at one place until the end; what goes wrong is kept in ``failures``."""
        try:
            if not place.interfaces and place.name != BRIDGE:
                found = await interfaces_up(self._runtime, place.name)
                place = dataclasses.replace(place, interfaces=found)
            program = [*self._runtime.python, "-m", "nodes.capture", *place.arguments(self._runtime)]
            command = self._runtime.command(place.name, [*program, f"--file={LOG_DIR / _FILE}"])
            async with run_program(f"the capture at {place.name}", command) as running:
                moved = self._bring_home(place.name)
                self._say("capture.started", place, interfaces=running.ready.data["interfaces"])
                started.set()
                with anyio.CancelScope(shield=True):  # it ends when it is told to, and then to its end
                    await running.until(self._end)
                    done = msgspec.convert((await running.stop()).data, _Done)
                if not moved:
                    await anyio.to_thread.run_sync(shutil.move, self._made(place.name), self.path(place.name))
                self._keep(place, running, done)
        except errors.HopbedError as error:
            self.failures[place.name] = error
            self._say("capture.failed", place, text=str(error))
        finally:
            started.set()

    def _made(self, place: str) -> Path:
        return self._runtime.log_dir(place) / _FILE

    def _bring_home(self, place: str) -> bool:
        """Move the file, which is being written, to where it stays; False where that takes a copy."""
        try:
            self._made(place).rename(self.path(place))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise errors.CaptureError(f"cannot move {self._made(place)}: {error.strerror}") from None
            return False
        return True

    def _keep(self, place: Place, running: Program, done: _Done) -> None:
        path = self.path(place.name)
        self.files[place.name] = CaptureFile(
            file=f"{path.parent.name}/{path.name}",
            packets=done.packets,
            dropped=done.dropped,
            interfaces=done.interfaces,
            clock_offset_ns=done.clock_offset_ns,
            clock_step_ns=done.clock_offset_ns - int(running.ready.data["clock_offset_ns"]),
        )
        self._say("capture.ended", place, packets=done.packets, dropped=done.dropped)

    def _say(self, kind: str, place: Place, **data: Any) -> None:
        self._publish(event(kind, node="" if place.name == BRIDGE else place.name, place=place.name, **data))


@asynccontextmanager
async def capture(
    runtime: Runtime, places: Sequence[str | Place], publish: Publish, *, folder: Path
) -> AsyncIterator[Captures]:
    """Capture at all ``places`` for the length of the context, into ``folder``, as ``PLACE.pcapng``.

    Of a node, every interface that is up when it starts is captured, so that a tunnel's packets are seen in
    clear as well as encrypted; one that comes up later is not. Every packet that is sent within the context
    is in the files after it. Publishes ``capture.started``, ``captures.ending`` once for all, and of each
    ``capture.ended`` or ``capture.failed``.

    Raises:
        MachineError: dumpcap is missing, or may not capture.
        CaptureError: a capture did not start; or, after the context, one did not last until then.
    """
    wanted = [Place(name=place) if isinstance(place, str) else place for place in places]
    captures = Captures(runtime, folder, publish)
    with single_error():
        async with anyio.create_task_group() as tasks:
            try:
                started = [anyio.Event() for _ in wanted]
                for place, event_ in zip(wanted, started, strict=True):
                    tasks.start_soon(captures.capture, place, event_)
                for event_ in started:
                    await event_.wait()
                _raise_first(captures)
                try:
                    yield captures
                finally:
                    publish(event("captures.ending"))
            finally:
                captures.end()
    _raise_first(captures)


def _raise_first(captures: Captures) -> None:
    for failure in captures.failures.values():
        raise failure
