"""Process 1 of a node: builds the node's namespaces, starts what the node runs, and reaps."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

from pyroute2.iproute.linux import IPRoute

from nodes.events import event
from nodes.program import say
from orchestrator.runtimes.namespaces import kernel
from orchestrator.runtimes.namespaces.blueprint import NodeBlueprint
from orchestrator.runtimes.namespaces.layout import HOSTS, RUN, RUN_ROOT
from orchestrator.runtimes.namespaces.network import join_bridge, set_dad_policy

NODE_UP = "node.up"
_OWN_NAMESPACES = kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC


def enter_node(node: NodeBlueprint, dad: str, bridge_index: int) -> None:
    """Build the node's namespaces around this process, which is process 1 of its PID namespace."""
    kernel.set_process_name(f"node {node.name}")
    bridge = IPRoute()  # stays in the bridge's network namespace when this process leaves it
    kernel.unshare(_OWN_NAMESPACES)
    socket.sethostname(node.name)
    _mount(node)
    set_dad_policy(dad)
    with bridge:
        join_bridge(node.name, node.address, dad, bridge, bridge_index)


def _mount(node: NodeBlueprint) -> None:
    # The run directory, the log folder and the hosts file stand under mounts that the new ones hide:
    # hold them open, and bind them from there.
    held = {
        Path("/run/hopbed"): os.open(RUN_ROOT / node.name, os.O_PATH),
        Path("/run/hopbed/log"): os.open(RUN_ROOT / node.name / "log", os.O_PATH),
        Path("/etc/hosts"): os.open(HOSTS, os.O_PATH),
    }
    kernel.mount("none", Path("/"), flags=kernel.MS_REC | kernel.MS_PRIVATE)
    no_files = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("proc", Path("/proc"), "proc", no_files)
    with contextlib.suppress(PermissionError):  # without root, where something covers a part of /sys
        kernel.mount("sysfs", Path("/sys"), "sysfs", no_files)  # of the node's interfaces, not the machine's
    kernel.mount("tmpfs", RUN, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
    for target, fd in held.items():
        if target.is_relative_to(RUN):
            target.mkdir(parents=True, exist_ok=True)
        if target.exists():  # a system without /etc/hosts has no names to replace
            kernel.mount(f"/proc/self/fd/{fd}", target, flags=kernel.MS_BIND)
        os.close(fd)


def serve(node: NodeBlueprint, agent_output: int) -> NoReturn:
    """Run the node's program until it ends, reaping every orphan; for a plain host, until SIGTERM.

    Ends with the program's exit status; the kernel then ends all that is left in the node.
    """
    child = 0

    def stop(number: int, _frame: object) -> None:
        if child:
            os.kill(child, number)
        else:
            sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    if node.argv:
        child = _start(node, agent_output)
    os.close(agent_output)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, signal.SIGTERM})
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            signal.pause()
            continue
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _start(node: NodeBlueprint, output: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(os.open("/run/hopbed/log/agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.closerange(3, 1024)
        os.chdir("/")
        os.execve(node.argv[0], node.argv, os.environ | node.environment)
    except OSError as error:
        say(event("failed", node=node.name, type="NodeError", text=f"{node.argv[0]}: {error}"))
    finally:
        os._exit(127)
