"""The command line in each runtime: its verbs, what it leaves behind, and its exit statuses."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from machine import (
    HOPBED,
    ROOT,
    containers_processes,
    hopbed,
    network_namespaces,
    packets_in,
    processes,
    processor_time,
    traces,
    wait_until_gone,
)
from victims import of_run

from nodes.errors import NodeError
from orchestrator.evidence.verdict import Outcome, decode
from orchestrator.runtimes.choose import runtime_type
from orchestrator.testbed import attach

KILL_ITS_AGENT = "pkill -KILL --oldest --full 'agent [t]erminal'"
CLEAN_UP = 60
"""Seconds after which what a killed run left counts as left; Docker's watcher takes a few."""


@pytest.fixture
def up(runtime):
    """A testbed that is left running: its id."""
    run_id = json.loads(hopbed("up", "--runtime", runtime, "--json", check=0).stdout)["run"]
    yield run_id
    hopbed("down", "--run", run_id)


def test_a_run_goes_up_is_listed_used_and_goes_down(up):
    runs = {run["run"]: run for run in json.loads(hopbed("ps", "--json", check=0).stdout)}
    nodes = {node["name"]: node["state"] for node in runs[up]["nodes"]}
    assert set(nodes.values()) == {"up"}
    assert list(nodes) == ["terminal-a", "terminal-b", "peer-a", "peer-b", "endpoint", "endpoint-b", "host"]
    hopbed("exec", "--run", up, "terminal-a", "--", "ping", "-6", "-c", "1", "-W", "5", "host", check=0)
    assert "is down" in hopbed("down", "--run", up, check=0).stdout
    assert traces(up) == set()
    assert f"no run whose id begins with {up} is up" in hopbed("down", "--run", up, check=2).stderr


def test_a_testbed_that_is_left_up_only_waits(up, runtime):
    """Each of its processes, once it is settled, has a second in which it uses less than a busy one does."""
    whole = set(of_run(up, docker=runtime == "docker"))
    assert len(whole) > 7
    deadline = time.monotonic() + 60
    busy = whole
    while busy and time.monotonic() < deadline:
        before = processor_time(busy)
        time.sleep(1)
        after = processor_time(busy)
        busy = {pid for pid in after if after[pid] - before[pid] > 0.04}
    assert {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in busy} == {}


def test_exec_passes_streams_arguments_and_status(up):
    script = 'cat; printf "%s|" "$@"; echo err >&2; exit 7'
    words = ["exec", "--run", up, "host", "--", "sh", "-c", script, "sh", "two words", "--json", ""]
    done = hopbed(*words, input="in ", check=7)
    assert done.stdout == "in two words|--json||"
    assert done.stderr == "err\n"


@pytest.mark.anyio
async def test_a_script_is_told_that_its_command_ended_because_the_node_died(up, runtime):
    async with attach(up, runtime_type(runtime)) as bed:
        with pytest.raises(NodeError, match="terminal-a died while sh .* ran in it"):
            await bed.node("terminal-a").exec(["sh", "-c", f"{KILL_ITS_AGENT}; exec sleep 1000"])


def test_a_command_that_is_interrupted_ends_in_the_node_too(up):
    line = [*HOPBED, "exec", "--run", up, "host", "--", "sh", "-c", "echo on; exec sleep 98765"]
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == b"on\n"
    os.killpg(process.pid, signal.SIGINT)
    process.wait(20)
    process.stdout.close()
    look = ["exec", "--run", up, "host", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]
    for _ in range(100):
        if "sleep 98765" not in hopbed(*look, check=0).stdout:
            return
    pytest.fail("the command goes on in the node")


def test_a_shell_opens_in_a_node(up):
    done = hopbed("shell", "--run", up, "terminal-b", input="hostname\nexit 3\n", check=3)
    assert done.stdout == "terminal-b\n"


def test_a_capture_sees_the_packets_until_it_is_interrupted(up, tmp_path):
    file = tmp_path / "bridge.pcapng"
    line = [*HOPBED, "capture", "bridge", "--run", up, "--out", str(file), "--filter", "icmp6"]
    process = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert "capturing at bridge" in process.stderr.readline()
    hopbed(
        "exec", "--run", up, "terminal-a", "--", "ping", "-6", "-c", "3", "-i", "0.1", "terminal-b", check=0
    )
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    process.stderr.close()
    assert len(packets_in(file, "icmpv6.type == 128")) == 3


def test_a_verdict_is_written_for_a_machine(runtime, tmp_path):
    words = ["run", "tunnel", "-p", "duration=0.2", "--runtime", runtime, "--json", "--seed", "7"]
    done = hopbed(*words, "--out", str(tmp_path / "e"), check=0)
    verdict = decode(done.stdout.encode())
    assert (verdict.outcome, verdict.seed, verdict.runtime) == (Outcome.PASS, 7, runtime)
    assert (tmp_path / "e" / "verdict.json").read_text() == done.stdout


def test_the_replay_command_of_the_evidence_runs_the_same_again(tmp_path):
    words = ["run", "tunnel", "-p", "duration=0.2", "-p", "ike=1", "--runtime", "namespaces"]
    hopbed(*words, "--out", str(tmp_path / "one"), check=0)
    command = json.loads((tmp_path / "one" / "run.json").read_text())["command"]
    assert command[0] == "hopbed"
    hopbed(*command[1:], "--out", str(tmp_path / "other"), check=0)
    one, other = (decode((tmp_path / name / "verdict.json").read_bytes()) for name in ("one", "other"))
    assert (one.parameters, one.seed) == (other.parameters, other.seed)


def test_a_verdict_that_failed_is_exit_status_1(tmp_path):
    words = ["run", "rekey", "-p", "ike=1", "-p", "pfs=true", "-p", "count=20", "-p", "max_lost=0"]
    done = hopbed(*words, "-p", "rate=2000", "--runtime", "namespaces", "--out", str(tmp_path / "e"), check=1)
    assert "verdict: fail" in done.stdout


USAGE = {
    "no such scenario": (["run", "nothing"], "no scenario 'nothing'; there are tunnel, rekey"),
    "no such parameter": (["run", "rekey", "-p", "x=1"], "there is no parameter 'x'; it has ike, auth"),
    "a version of IKE that does not exist": (
        ["run", "rekey", "-p", "ike=3"],
        "rekey: ike=3: input should be",
    ),
    "a rate out of range": (["run", "rekey", "-p", "rate=9"], "rekey: rate=9: input should be greater than"),
    "a parameter without a value": (["run", "rekey", "-p", "rate"], "'rate' is not NAME=VALUE"),
    "a parameter twice": (["run", "rekey", "-p", "rate=10", "-p", "rate=20"], "rate is given twice"),
    "no such file": (["run", "rekey", "-f", "/nothing"], "/nothing: No such file or directory"),
    "no such verb": (["jump"], "No such command 'jump'"),
    "no such node": (["up", "nobody"], "no node nobody in compose.yaml"),
    "no such run": (["down", "--run", "ffff"], "no run whose id begins with ffff is up"),
    "no such runtime": (["up", "--runtime", "moon"], "'moon' is not one of"),
}


@pytest.mark.parametrize(("words", "said"), USAGE.values(), ids=USAGE)
def test_bad_input_is_one_error_and_exit_status_2(words, said, tmp_path):
    done = hopbed(*words, check=2, env={**os.environ, "COLUMNS": "200"})
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_evidence_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "kept").write_text("kept")
    done = hopbed("run", "tunnel", "--runtime", "namespaces", "--out", str(tmp_path), check=2)
    assert "is not empty; evidence is never overwritten" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def in_a_machine(script, *words):
    """Run ``hopbed`` in a mount namespace that ``script`` made poorer; without root, in a user's own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    line = ["unshare", *user, "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh", *HOPBED, *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


LACKING = {
    "charon": (
        "for d in /usr/lib/ipsec /usr/libexec/ipsec; do [ -d $d ] && mount -t tmpfs none $d; done; true",
        "charon is not installed",
        "apt-get install --no-install-recommends strongswan-charon",
    ),
    "TUN": ("mount -t tmpfs none /dev/net", "/dev/net/tun does not exist", "modprobe tun"),
    "NET_ADMIN": (
        "true",
        "Operation not permitted",
        "give it NET_ADMIN and SYS_ADMIN",
    ),
}


@pytest.mark.parametrize("what", LACKING)
def test_a_machine_that_lacks_something_is_told_what_mends_it_with_exit_status_3(what, tmp_path):
    script, reason, mend = LACKING[what]
    out = tmp_path / "e"
    words = ["run", "tunnel", "--runtime", "namespaces", "--dataplane", "userspace", "--out", str(out)]
    if what == "NET_ADMIN":
        line = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", *HOPBED, *words]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    else:
        done = in_a_machine(script, *words)
    assert done.returncode == 3, done.stderr
    assert reason in done.stderr
    assert mend in done.stderr
    assert not out.exists()


def test_the_doctor_speaks_to_machines():
    done = hopbed("doctor", "--json", check=0)
    found = json.loads(done.stdout)
    assert found["namespaces"] is True
    for finding in found["findings"]:
        assert finding["present"] or (finding["detail"] and finding["lost"] and finding["mend"]), finding


def test_the_doctor_mends_what_is_missing_only_after_asking():
    done = hopbed("doctor", "--fix", input="n\n" * 20)
    assert "run `" in done.stderr or "nothing that a command could mend" in done.stderr


def test_the_scenarios_are_listed_with_their_parameters():
    listed = {entry["name"]: entry for entry in json.loads(hopbed("list", "--json", check=0).stdout)}
    names = [parameter["name"] for parameter in listed["rekey"]["parameters"]]
    assert {"ike", "pfs", "count", "rate", "auth"} <= set(names)


LINE = re.compile(r"testbed\.starting run ([0-9a-f]{8})")
MOMENTS = (
    "testbed.starting",
    "bridge.up",
    "node.up",
    "node.ready",
    "testbed.up",
    "capture.started",
    "ike-sa.established",
    "flow.started",
    "child-sa.rekeyed",
    "testbed.ending",
)


def run_until(moment, runtime, out):
    """A scenario that is under way, and has just said ``moment``; and its id."""
    words = ["run", "rekey", "-p", "count=2", "-p", "interval=0.1", "--runtime", runtime, "--out", str(out)]
    process = subprocess.Popen(
        [*HOPBED, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    run_id = None
    for line in process.stderr:
        run_id = run_id or ((found := LINE.search(line)) and found[1])
        if moment in line:
            return process, run_id
    raise AssertionError(f"the run ended before {moment}, with {process.wait()}")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_orchestrator_leaves_nothing(moment, runtime, tmp_path):
    process, run_id = run_until(moment, runtime, tmp_path / "e")
    spaces = network_namespaces(processes(run_id) | containers_processes(run_id))
    process.kill()
    process.wait()
    process.stderr.close()
    assert wait_until_gone(run_id, CLEAN_UP) == set()
    assert not network_namespaces() & spaces


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", ["node.up", "flow.started"])
def test_a_signal_ends_a_run_in_order_with_its_evidence(number, status, moment, runtime, tmp_path):
    process, run_id = run_until(moment, runtime, tmp_path / "e")
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait(60) == status, rest
    process.stderr.close()
    assert traces(run_id) == set()
    verdict = decode((tmp_path / "e" / "verdict.json").read_bytes())
    assert verdict.outcome is Outcome.ERROR
    if moment == "flow.started":
        assert verdict.capture.packets > 0
        for capture in ("bridge", "peer-a", "peer-b"):
            assert packets_in(tmp_path / "e" / "captures" / f"{capture}.pcapng", "ipv6")


@pytest.fixture
def anybodys(tmp_path_factory):
    """A folder that an unprivileged user may write to."""
    folder = tmp_path_factory.mktemp("anybody")
    folder.chmod(0o777)
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return folder


def test_an_unprivileged_user_runs_it_too(anybodys):
    """With /dev/net/tun open to all, as most distributions have it, where the kernel has no ESP."""
    words = [
        "run",
        "rekey",
        "-p",
        "count=20",
        "--runtime",
        "namespaces",
        "--out",
        str(anybodys / "e"),
        "--json",
    ]
    line = [*HOPBED, *words, "-f", str(ROOT / "compose.yaml")]
    if os.geteuid() == 0:
        device = "mount -t tmpfs none /dev/net && mknod -m 0666 /dev/net/tun c 10 200"
        user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        line = ["unshare", "--mount", "sh", "-ec", f'{device}; exec "$@"', "sh", *user, *line]
    done = subprocess.run(line, cwd="/", capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {flow.lost for flow in decode(done.stdout.encode()).flows} == {0}
