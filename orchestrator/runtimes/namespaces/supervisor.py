"""The supervisor: process 1 of a run's PID namespace.

It is started inside new user (without root), PID, mount, network, UTS and IPC namespaces, builds what the
blueprint on its standard input says, and says what happens on its standard output, under the contract of
:mod:`nodes.program`. It ends at the end of its standard input, unless it was told to ``detach`` before;
with it ends everything that it built, by the kernel's own rule for process 1.

Signals: SIGTERM ends it in an orderly way, as the end of its standard input does.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from pyroute2.netlink.exceptions import NetlinkError

from nodes import errors, program
from nodes.control.messages import LineSplitter
from nodes.events import Event, event
from orchestrator.runtimes.namespaces import kernel, layout
from orchestrator.runtimes.namespaces.blueprint import Blueprint, NodeBlueprint
from orchestrator.runtimes.namespaces.network import explain, make_bridge
from orchestrator.runtimes.namespaces.node_init import NODE_UP, enter_node, serve


class _Node:
    """A node as the supervisor sees it: its process 1 and the pipe that it speaks on."""

    def __init__(self, blueprint: NodeBlueprint, pid: int, output: int) -> None:
        self.name = blueprint.name
        self.pid = pid
        self.output = output
        self.ready = False
        self.failed = False
        self.splitter = LineSplitter()


class Supervisor:
    """Builds one run and watches over it."""

    def __init__(self, blueprint: Blueprint, commands: int) -> None:
        self._blueprint = blueprint
        self._commands = commands
        self._nodes: dict[int, _Node] = {}
        self._selector = selectors.DefaultSelector()
        self._wake = -1
        self._ending = False
        self._detached = False

    def build(self) -> None:
        """Make the bridge, and start every node, side by side."""
        _mount_run_root(self._blueprint)
        bridge_index = make_bridge()
        self._say("bridge.up")
        own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
        for blueprint in self._blueprint.nodes:
            kernel.setns(own_pids, kernel.CLONE_NEWPID)
            kernel.unshare(kernel.CLONE_NEWPID)
            node = self._fork(blueprint, bridge_index)
            self._nodes[node.pid] = node
            self._selector.register(node.output, selectors.EVENT_READ, node)
        kernel.setns(own_pids, kernel.CLONE_NEWPID)
        os.close(own_pids)
        pids = {node.name: node.pid for node in self._nodes.values()}
        _write_atomically(layout.NODES, msgspec.json.encode(pids))

    def _fork(self, blueprint: NodeBlueprint, bridge_index: int) -> _Node:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writer)
            os.set_blocking(reader, False)
            return _Node(blueprint, pid, reader)
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            os.dup2(writer, 1)
            os.close(self._commands)
            enter_node(blueprint, self._blueprint.dad, bridge_index)
            program.say(event(NODE_UP, node=blueprint.name))
            if not blueprint.argv:
                program.say(event(program.READY, node=blueprint.name))
            serve(blueprint, writer)
        except NetlinkError as error:
            program.say(program.failed_event(errors.NodeError(f"{blueprint.name}: {explain(error)}")))
        except (OSError, errors.HopbedError) as error:
            program.say(program.failed_event(errors.NodeError(f"{blueprint.name}: {error}")))
        finally:
            os._exit(status)

    def run(self) -> None:
        """Relay what the nodes say until told to end; then end them."""
        self._wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        self._selector.register(self._wake, selectors.EVENT_READ, self._wake)
        self._selector.register(self._commands, selectors.EVENT_READ, self._commands)
        self._reap()  # what ended before the handler stood
        self._check_ready()
        while not self._ending:
            self._step(None)
        if self._is_ready():
            self._end_nodes()

    def _end_nodes(self) -> None:
        """Let the nodes end by themselves, so that daemons take leave and logs are whole."""
        for node in self._nodes.values():
            os.kill(node.pid, signal.SIGTERM)
        deadline = time.monotonic() + layout.GRACE
        while self._nodes and (left := deadline - time.monotonic()) > 0:
            self._step(left)

    def _step(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            if isinstance(key.data, _Node):
                self._read(key.data)
            elif key.data == self._wake:
                os.read(self._wake, 4096)
                self._reap()
            else:
                self._command()

    def _end(self) -> None:
        self._ending = True

    def _command(self) -> None:
        told = os.read(self._commands, len(layout.DETACH))
        # Before its descriptor is another file: whoever started us has the pipe's end too, and epoll would go
        # on telling of its hang-up, which nobody could unregister any more.
        self._selector.unregister(self._commands)
        if told == layout.DETACH:
            self._detached = True
            layout.DETACHED.touch()
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            os.close(null)
        elif not self._detached:
            self._end()

    def _read(self, node: _Node) -> None:
        if node.output < 0:
            return
        try:
            data = os.read(node.output, 65536)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(node.output)
            os.close(node.output)
            node.output = -1
            return
        for line in node.splitter.feed(data):
            self._hear(node, msgspec.json.decode(line, type=Event))

    def _hear(self, node: _Node, said: Event) -> None:
        if said.kind == program.READY:
            node.ready = True
            self._say("node.ready", node.name)
            self._check_ready()
        elif said.kind == program.FAILED:
            node.failed = True
            if node.ready:
                self._say("node.failed", node.name, **said.data)
            else:
                program.say(said)
                self._end()
        else:
            program.say(said)

    def _is_ready(self) -> bool:
        return all(node.ready for node in self._nodes.values())

    def _check_ready(self) -> None:
        if self._is_ready():
            self._say(program.READY)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            node = self._nodes.get(pid)
            if node is None:
                continue
            self._read(node)  # its last words come before its end
            code = os.waitstatus_to_exitcode(status)
            if self._ending:
                pass
            elif node.ready:
                self._say("node.died", node.name, status=code)
            elif not node.failed:
                error = errors.NodeError(f"{node.name}: ended with status {code} before it was ready")
                program.say(program.failed_event(error))
                self._end()
            del self._nodes[pid]

    def _say(self, kind: str, node: str = "", **data: Any) -> None:
        if not self._detached:
            program.say(event(kind, node=node, **data))


def _mount_run_root(blueprint: Blueprint) -> None:
    log_dir = None if blueprint.bridge_log_dir is None else os.open(blueprint.bridge_log_dir, os.O_PATH)
    logs = {node.name: node.log_dir for node in blueprint.nodes}
    held = {name: os.open(folder, os.O_PATH) for name, folder in logs.items() if folder is not None}
    kernel.mount("tmpfs", layout.RUN, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=700")
    (layout.RUN / "hopbed" / "log").mkdir(parents=True)
    layout.RUN_ROOT.mkdir()
    if log_dir is not None:
        kernel.mount(f"/proc/self/fd/{log_dir}", layout.RUN / "hopbed" / "log", flags=kernel.MS_BIND)
        os.close(log_dir)
    for node in blueprint.nodes:
        folder = layout.RUN_ROOT / node.name
        (folder / "log").mkdir(parents=True)
        if node.name in held:
            kernel.mount(f"/proc/self/fd/{held[node.name]}", folder / "log", flags=kernel.MS_BIND)
            os.close(held[node.name])
    hosts = ["127.0.0.1 localhost", "::1 localhost"]
    hosts += [f"{node.address.split('/')[0]} {node.name}" for node in blueprint.nodes]
    layout.HOSTS.write_text("\n".join(hosts) + "\n")
    layout.HOSTS.chmod(0o644)
    layout.PLAN.write_text(blueprint.plan)


def _write_atomically(path: Path, data: bytes) -> None:
    unborn = path.with_suffix(".new")
    unborn.write_bytes(data)
    unborn.rename(path)


def _read_line(fd: int) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        data = os.read(fd, 65536)
        if not data:
            sys.exit(0)  # the owner ended before it said what to build
        line += data
    return bytes(line)


def main() -> None:
    """Build and watch one run."""
    blueprint = msgspec.json.decode(_read_line(0), type=Blueprint)
    kernel.set_process_name("hopbed")
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    supervisor = Supervisor(blueprint, commands=0)
    supervisor.build()
    supervisor.run()
    program.say(event(program.DONE))


if __name__ == "__main__":
    program.run(main)
