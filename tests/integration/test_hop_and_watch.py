"""The verbs about hops on a testbed that is up: by hand, and the live view."""

import json
import os
import pty
import select
import signal
import subprocess
import time

import pytest
from machine import HOPBED, ROOT, hopbed


@pytest.fixture
def up(runtime):
    """A testbed of two terminals that is left running: its id."""
    words = ("up", "terminal-a", "terminal-b", "host", "--runtime", runtime, "--json")
    run_id = json.loads(hopbed(*words, check=0).stdout)["run"]
    yield run_id
    hopbed("down", "--run", run_id)


def test_an_address_hops_by_hand_again_and_again(up):
    hopped = [
        json.loads(hopbed("hop", "terminal-a", "--run", up, "--json", check=0).stdout) for _ in range(2)
    ]
    assert hopped[1]["first"] == hopped[0]["second"]
    assert all(one["retired"] for one in hopped)
    assert hopped[0]["partners"] == {"terminal-b": "told"}
    shown = hopbed("hop", "terminal-b", "--run", up, check=0).stdout
    assert "terminal-b: " in shown
    assert "closed" in shown


def test_a_node_that_cannot_hop_is_a_clear_error(up):
    assert "host is a host, not a terminal" in hopbed("hop", "host", "--run", up, check=2).stderr
    assert "no node 'nobody'" in hopbed("hop", "nobody", "--run", up, check=2).stderr
    words = ("hop", "terminal-a", "--run", up, "--kind", "prefix", "--prefix", "2001:db8:99::/64")
    assert hopbed(*words).returncode != 0


def test_watch_writes_states_and_events_as_lines_and_ends_on_ctrl_c(up):
    process = subprocess.Popen(
        [*HOPBED, "watch", "--run", up, "--json", "--interval", "0.2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    first = next(said for line in process.stdout if "state" in (said := json.loads(line)))
    assert set(first["state"]["terminals"]) == {"terminal-a", "terminal-b"}
    hopbed("hop", "terminal-a", "--run", up, check=0)
    seen = set()
    for line in process.stdout:
        said = json.loads(line)
        seen.add(said.get("kind", "state"))
        if "hop.closed" in seen and said.get("state", {}).get("terminals", {}).get("terminal-a", {}).get(
            "hopped"
        ):
            break
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert {"hop.started", "hop.closed", "state"} <= seen
    process.stdout.close()
    process.stderr.close()


def test_watch_shows_addresses_on_a_terminal_and_leaves_it_as_it_was(up):
    near, far = pty.openpty()
    process = subprocess.Popen(
        [*HOPBED, "watch", "--run", up],
        cwd=ROOT,
        stdin=far,
        stdout=far,
        stderr=far,
        start_new_session=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(far)
    shown = b""
    deadline = time.monotonic() + 20
    while b"preferred" not in shown and time.monotonic() < deadline:
        if select.select([near], [], [], 0.5)[0]:
            shown += os.read(near, 65_536)
    assert b"addresses" in shown
    process.send_signal(signal.SIGINT)
    try:
        while chunk := os.read(near, 65_536):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    assert process.wait(10) == 130
    assert shown.rfind(b"\x1b[?1049l") > shown.rfind(b"\x1b[?1049h")  # the screen that was there before
    os.close(near)
