"""dumpcap: its command line, its process, and what its standard error means."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nodes import errors

QUEUE_OCTETS = 64 * 1024 * 1024
"""What dumpcap may queue between its threads when it captures on several interfaces. Its default, 1,000
packets, drops some 3 % of 10,000 packets a second."""

NOT_PERMITTED = "this user may not capture here; it takes root, or the capability CAP_NET_RAW"

_INSTALL = "install it with `apt-get install wireshark-common`"
_PR_SET_PDEATHSIG = 1

_OPEN = re.compile(r"^File: ", re.MULTILINE)
_CAPTURED = re.compile(r"^\r?Packets captured: (\d+)", re.MULTILINE)
_COUNTS = re.compile(
    r"^Packets received/dropped on interface '.*': (\d+)/\d+ \(pcap:(\d+)/dumpcap:(\d+)/", re.MULTILINE
)
_BAD_FILTER = re.compile(r"isn't a valid capture filter \((.*)\)")
_ERROR = re.compile(r"^dumpcap: (.*?)(?=\r?Packets captured|\Z)", re.MULTILINE | re.DOTALL)


def find() -> str:
    """The path of dumpcap.

    Raises:
        MachineError: it is not installed.
    """
    path = shutil.which("dumpcap", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if path is None:
        raise errors.MachineError(f"dumpcap is not there; {_INSTALL}")
    return path


def command(
    path: str, filters: Sequence[tuple[str, str | None]], *, buffer_mib: int, snaplen: int | None
) -> list[str]:
    """The command line that captures on the interfaces of ``filters`` into its standard output.

    Written so, each block of packets that the kernel hands over is flushed at once; into a file of its own
    making dumpcap may keep some until the next packet comes.
    """
    line = [path, "-q", "-w", "-", "-C", str(QUEUE_OCTETS)]
    for interface, wanted in filters:
        line += ["-i", interface, "-B", str(buffer_mib)]
        line += ["-f", wanted] if wanted is not None else []
        line += ["-s", str(snaplen)] if snaplen is not None else []
    return line


@contextmanager
def process(line: Sequence[str], output: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run dumpcap with its standard output to ``output``; it dies with this process.

    Raises:
        MachineError: this user may not run it.
    """
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # with SIGTERM it still ends its file
        if os.getppid() != parent:
            os._exit(1)

    try:
        started = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            preexec_fn=die_with_parent,
        )
    except PermissionError:
        raise errors.MachineError(f"{NOT_PERMITTED}: {line[0]} may not be run") from None
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def is_open(said: str) -> bool:
    """Whether dumpcap captures: its sockets are open and their filters set.

    ``Capturing on`` comes before either; ``File:`` after both (Wireshark's dumpcap.c, capture_loop_start).
    """
    return _OPEN.search(said) is not None


def failure(said: str, wanted: str | None) -> errors.HopbedError:
    """The error that dumpcap ended with; ``wanted`` is the filter that the user asked for."""
    bad_filter = _BAD_FILTER.search(said)
    if bad_filter:
        return errors.ParameterError(f"{wanted!r} is not a capture filter: {bad_filter[1]}")
    found = _ERROR.search(said)
    text = " ".join((found[1] if found else said).split()) or "it said nothing"
    if "permission" in text:
        return errors.MachineError(f"{NOT_PERMITTED}: {text}")
    return errors.CaptureError(f"dumpcap ended: {text}")


def totals(said: str, interfaces: Sequence[str]) -> dict[str, Any]:
    """The counts that dumpcap ended with: ``packets``, ``dropped``, and for each of ``interfaces``.

    Packets that were flushed, that is received after it was told to end, are not dropped. With one interface
    dumpcap counts them as received; in the file's own statistics it counts them as dropped, too.

    Raises:
        CaptureError: it did not say them.
    """
    captured = _CAPTURED.search(said)
    counts = _COUNTS.findall(said)
    if captured is None or len(counts) != len(interfaces):
        raise failure(said, None)
    by_interface = [
        {"name": name, "received": int(received), "dropped": int(by_kernel) + int(by_dumpcap)}
        for name, (received, by_kernel, by_dumpcap) in zip(interfaces, counts, strict=True)
    ]
    return {
        "packets": int(captured[1]),
        "dropped": sum(int(by_kernel) + int(by_dumpcap) for _, by_kernel, by_dumpcap in counts),
        "interfaces": by_interface,
    }
