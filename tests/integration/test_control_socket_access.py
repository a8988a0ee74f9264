"""Who may speak to a node: its owner and root. The folder, the socket and the agent refuse another user."""

import contextlib
import os
import subprocess

import pytest

from orchestrator.testbed import Testbed

pytestmark = pytest.mark.anyio

NODE = "peer-a"
STRANGER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
ASK = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as channel:
    try:
        channel.connect(sys.argv[1])
    except PermissionError:
        sys.exit("refused by the file system")
    try:
        channel.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "agent.ping"}).encode() + b"\\n")
        answer = channel.recv(4096)
    except ConnectionError:
        answer = b""
    sys.exit("hung up" if not answer else 0 if json.loads(answer)["result"] else 1)
"""
"""Status 0 for who is answered; else what happened, on standard error."""


@contextlib.asynccontextmanager
async def node_of(runtime):
    if os.getuid() != 0:
        pytest.fail("needs root, to become another user")
    async with Testbed.from_compose("compose.yaml", runtime=runtime, nodes=(NODE,)) as bed:
        yield bed


def ask(command):
    """What becomes of somebody who asks the node for its name; empty for an answer."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 or done.stderr.strip() in ("refused by the file system", "hung up"), done
    return done.stderr.strip()


def on_host(bed, *become, socket="control.sock"):
    path = str(bed.runtime.run_dir(NODE) / socket)
    return ask([*become, "/usr/bin/python3", "-c", ASK, path])


def in_node(bed, *become, socket="control.sock"):
    return ask(bed.runtime.command(NODE, [*become, "/usr/bin/python3", "-c", ASK, f"/run/hopbed/{socket}"]))


async def test_the_owner_is_answered_and_another_user_of_the_machine_does_not_get_at_the_socket(runtime):
    async with node_of(runtime) as bed:
        assert on_host(bed) == ""
        assert on_host(bed, *STRANGER) == "refused by the file system"


async def test_another_user_inside_the_node_does_not_get_at_the_socket_either(runtime):
    async with node_of(runtime) as bed:
        assert in_node(bed) == ""
        assert in_node(bed, *STRANGER) == "refused by the file system"


async def test_charons_own_socket_is_its_owners_too(runtime):
    async with node_of(runtime) as bed:
        assert on_host(bed, *STRANGER, socket="charon.vici") == "refused by the file system"
        assert in_node(bed, *STRANGER, socket="charon.vici") == "refused by the file system"


async def test_with_every_permission_given_away_the_agent_itself_turns_another_user_away(runtime):
    async with node_of(runtime) as bed:
        await bed.node(NODE).exec(["chmod", "0777", "/run/hopbed", "/run/hopbed/control.sock"])
        assert in_node(bed) == ""
        assert in_node(bed, *STRANGER) == "hung up"
