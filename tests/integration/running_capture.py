"""Runs ``python -m nodes.capture`` at a place, and looks at what it wrote."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from orchestrator.capture.classify import Kind, classify, numbers
from orchestrator.capture.pcapng import read_file


class Capture:
    """A running capture program."""

    def __init__(self, process, events):
        self.process = process
        self._events = events

    def event(self):
        line = self._events.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def ready(self):
        said = self.event()
        assert said["kind"] == "ready", said
        return said["data"]

    def end(self):
        self.process.stdin.close()
        said = self.event()
        assert said["kind"] == "done", said
        assert self.process.wait(30) == 0
        return said["data"]

    @property
    def dumpcap(self):
        """The process id of its dumpcap."""
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)


@contextmanager
def capture(nodes, place, file, *arguments, interface="eth0", before=(), environment=None):
    argv = [*before, sys.executable, "-m", "nodes.capture", f"--file={file}", *arguments]
    argv += [f"--interface={interface}"] if interface else []
    with subprocess.Popen(
        nodes.command(place, argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    ) as process:
        try:
            yield Capture(process, process.stderr if str(file) == "-" else process.stdout)
        finally:
            process.kill()


def payloads(file):
    packets = read_file(file)
    udp = numbers(classify(packets).kind == Kind.UDP).tolist()
    return [packets.packet(number)[62:].decode() for number in udp]


def marks_in(file):
    packets = read_file(file)
    marks = numbers(classify(packets).kind == Kind.END_MARK).tolist()
    return {packets.packet(number)[-16:] for number in marks}


def failure(nodes, place, file, *arguments, **options):
    with capture(nodes, place, file, *arguments, **options) as running:
        said = running.event()
        assert said["kind"] == "failed"
        return said["data"]["type"], said["data"]["text"]
