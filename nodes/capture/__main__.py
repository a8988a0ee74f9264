"""The program ``python -m nodes.capture``; see :mod:`nodes.capture`."""

from __future__ import annotations

import argparse
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any, NoReturn

from nodes import errors
from nodes.capture import dumpcap
from nodes.capture.endmark import MAX_OCTETS, EndMark
from nodes.capture.output import FileOutput, LiveOutput, Output
from nodes.events import event
from nodes.program import DONE, READY, run, say

BUFFER_MIB = 16
"""Default size of the kernel's buffer for each interface: some 10 s of 10,000 small packets a second."""

_MARK_AGAIN = 1.0
"""Seconds after which a mark that was not seen is sent again: a link with loss may have eaten it."""
_MARK_TIMEOUT = 3.0
"""Seconds after which an interface counts as unmarked; a block of the kernel's is due within 0.5 s."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise errors.ParameterError(f"capture: {message}")


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="nodes.capture", add_help=False)
    parser.add_argument("--interface", action="append", required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--filter")
    parser.add_argument("--snaplen", type=int)
    parser.add_argument("--buffer", type=int, default=BUFFER_MIB)
    return parser.parse_args(argv)


def _check(asked: argparse.Namespace) -> None:
    if asked.snaplen is not None and not MAX_OCTETS <= asked.snaplen <= 262_144:
        raise errors.ParameterError(f"capture: --snaplen must be {MAX_OCTETS} to 262144 octets")
    if not 1 <= asked.buffer <= 1024:
        raise errors.ParameterError("capture: --buffer must be 1 to 1024 MiB")
    if len(set(asked.interface)) < len(asked.interface):
        raise errors.ParameterError("capture: an --interface is given twice")


def _end_mark(interface: str) -> EndMark:
    try:
        return EndMark(interface)
    except PermissionError:
        raise errors.MachineError(dumpcap.NOT_PERMITTED) from None
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        there = ", ".join(name for _, name in socket.if_nameindex())
        raise errors.CaptureError(f"no interface {interface!r} here; there are {there}") from None


def clock_offset_ns() -> int:
    """CLOCK_REALTIME less CLOCK_MONOTONIC; the closest of some readings."""
    readings = []
    for _ in range(5):
        before, realtime, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, realtime - (before + after) // 2))
    return min(readings)[1]


class Capture:
    """One capture, from dumpcap's start to its end.

    Args:
        process: dumpcap.
        output: where it writes.
        marks: the end mark of each interface.

    Attributes:
        said: what dumpcap said on its standard error.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: Output, marks: Sequence[EndMark]) -> None:
        assert process.stderr is not None
        self.said = ""
        self._process = process
        self._output = output
        self._marks = marks
        self._told_to_end = False
        self._tail: bytes | None = None
        self._until_eof = {process.stderr.fileno()}
        self._until_eof |= {descriptor for descriptor, events in output.watched() if events & select.POLLIN}
        self._readers: dict[int, Callable[[int], None]] = {}
        self._poll = select.poll()
        self._watch(self._read_orders, [(0, select.POLLIN)])
        self._watch(self._read_errors, [(process.stderr.fileno(), select.POLLIN)])
        self._watch(self._read_output, output.watched())

    def until_open(self) -> bool:
        """Wait until dumpcap captures; False if it ended instead."""
        while not dumpcap.is_open(self.said) and not self._ended:
            self._wait()
        return dumpcap.is_open(self.said)

    def until_told_to_end(self) -> bool:
        """Wait until the capture is to end; False if dumpcap ended before."""
        while not self._told_to_end and not self._ended:
            self._wait()
        return not self._ended

    def until_marked(self) -> None:
        """Wait until every packet that came before is in the output, as far as marks can prove it."""
        self._tail = b""
        self._watch(self._read_output, self._output.end_begins())
        deadline = time.monotonic() + _MARK_TIMEOUT
        send_at = 0.0
        while self._unseen() and not self._ended and (now := time.monotonic()) < deadline:
            if now >= send_at:
                send_at = now + _MARK_AGAIN
                for mark in self._unseen():
                    mark.send()
            self._wait(min(send_at, deadline) - now)

    def end(self) -> None:
        """Tell dumpcap to end, and wait until it did.

        Raises:
            CaptureError: it could not write all that it captured.
        """
        self._process.send_signal(signal.SIGINT)
        while not self._ended:
            self._wait()
        if self._process.wait():
            raise dumpcap.failure(self.said, None)

    @property
    def _ended(self) -> bool:
        return not self._until_eof

    def _unseen(self) -> list[EndMark]:
        return [mark for mark in self._marks if not mark.seen]

    def _watch(self, reader: Callable[[int], None], descriptors: Sequence[tuple[int, int]]) -> None:
        for descriptor, events in descriptors:
            self._readers[descriptor] = reader
            self._poll.register(descriptor, events)

    def _wait(self, timeout: float | None = None) -> None:
        for descriptor, events in self._poll.poll(None if timeout is None else timeout * 1000 + 1):
            if events & select.POLLERR:
                self._poll.unregister(descriptor)
            self._readers[descriptor](descriptor)

    def _eof(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._until_eof.discard(descriptor)

    def _read_orders(self, descriptor: int) -> None:
        if not os.read(descriptor, 4096):
            self._poll.unregister(descriptor)
            self._told_to_end = True

    def _read_errors(self, descriptor: int) -> None:
        said = os.read(descriptor, 65536)
        self.said += said.decode(errors="replace")
        if not said:
            self._eof(descriptor)

    def _read_output(self, descriptor: int) -> None:
        try:
            octets = self._output.read()
        except EOFError:
            self._eof(descriptor)
            return
        self._told_to_end |= self._output.reader_gone
        if self._tail is not None:
            self._tail = self._tail[-MAX_OCTETS:] + octets
            for mark in self._unseen():
                mark.seen = mark.token in self._tail


def main() -> None:
    """Run one capture."""
    asked = _arguments(sys.argv[1:])
    live = LiveOutput() if asked.file == "-" else None
    _check(asked)
    path = dumpcap.find()
    with ExitStack() as stack:
        marks = [stack.enter_context(closing(_end_mark(interface))) for interface in asked.interface]
        filters = [(mark.interface, mark.filter(asked.filter) if asked.filter else None) for mark in marks]
        line = dumpcap.command(path, filters, buffer_mib=asked.buffer, snaplen=asked.snaplen)
        output: Output = live or FileOutput(asked.file)
        try:
            process = stack.enter_context(dumpcap.process(line, output.descriptor))
            output.handed_over()
            capture = Capture(process, output, marks)
            if not capture.until_open():
                raise dumpcap.failure(capture.said, asked.filter)
        except BaseException:
            output.discard()
            raise
        say(event(READY, interfaces=asked.interface, clock_offset_ns=clock_offset_ns()))
        if not capture.until_told_to_end():
            raise dumpcap.failure(capture.said, asked.filter)
        capture.until_marked()
        capture.end()
        say(event(DONE, clock_offset_ns=clock_offset_ns(), **_results(capture, marks)))


def _results(capture: Capture, marks: Sequence[EndMark]) -> dict[str, Any]:
    results = dumpcap.totals(capture.said, [mark.interface for mark in marks])
    for interface, mark in zip(results["interfaces"], marks, strict=True):
        interface["marked"] = mark.seen
    return results


if __name__ == "__main__":
    run(main)
