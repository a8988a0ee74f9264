"""How ``python -m nodes.capture`` fails, whose its files are, and how it serves a live reader."""

import os
import select
import signal
import tempfile
from pathlib import Path

import pytest
from bridged_nodes import bridged_nodes
from running_capture import capture, failure

from orchestrator.capture.classify import Kind, classify, numbers
from orchestrator.capture.pcapng import read, read_file

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with bridged_nodes(tmp_path_factory.mktemp("nodes")) as there:
        yield there


@pytest.fixture
def other(nodes):
    with nodes.second_interface("a") as name:
        yield name


@pytest.fixture
def open_folder():
    """A folder that every user can reach and write in."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_a_user_who_is_root_in_a_namespace_of_their_own_can_capture(nodes, open_folder):
    theirs = (
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "unshare",
        "--map-root-user",
        "--net",
    )
    up = ("sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    with capture(nodes, "a", open_folder / "c.pcapng", interface="lo", before=(*theirs, *up)) as running:
        running.ready()
        assert running.end()["interfaces"][0]["marked"] is True
    assert (open_folder / "c.pcapng").stat().st_uid == 65534


def test_the_file_belongs_to_the_owner_of_the_run(nodes, tmp_path):
    file = tmp_path / "theirs" / "c.pcapng"
    file.parent.mkdir(mode=0o700)
    os.chown(file.parent, 12345, 12345)
    with capture(nodes, "a", file, environment={"HOPBED_OWNER": "12345"}) as running:
        running.ready()
        running.end()
    assert file.stat().st_uid == 12345
    assert (classify(read_file(file)).kind == Kind.END_MARK).any()


def test_a_capture_never_overwrites_a_file(nodes, tmp_path):
    (tmp_path / "c.pcapng").write_text("evidence")
    assert failure(nodes, "a", tmp_path / "c.pcapng") == (
        "CaptureError",
        f"cannot make the capture {tmp_path / 'c.pcapng'}: File exists",
    )
    assert (tmp_path / "c.pcapng").read_text() == "evidence"


NOBODY = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--bounding-set=-all",
    "--inh-caps=-all",
)

REFUSED = {
    "an interface that is not there": (
        ["--interface=nope"],
        "CaptureError",
        "no interface 'nope' here; there are lo, eth0",
    ),
    "a filter that is none": (
        ["--filter=udp prot 500"],
        "ParameterError",
        "'udp prot 500' is not a capture filter",
    ),
    "a snaplen without room for the mark": (
        ["--snaplen=40"],
        "ParameterError",
        "--snaplen must be 80 to 262144",
    ),
    "a buffer of no size": (["--buffer=0"], "ParameterError", "--buffer must be 1 to 1024 MiB"),
    "an interface twice": (["--interface=eth0"], "ParameterError", "an --interface is given twice"),
    "an unknown word": (["--colour"], "ParameterError", "--colour"),
}


@pytest.mark.parametrize(("arguments", "kind", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_captured_is_one_clear_error_and_leaves_no_file(
    nodes, tmp_path, arguments, kind, text
):
    found_kind, found_text = failure(nodes, "a", tmp_path / "c.pcapng", *arguments)
    assert found_kind == kind
    assert text in found_text
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_dumpcap_is_told_how_to_install_it(nodes, tmp_path):
    hidden = (
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount --bind /dev/null "$(which dumpcap)" && exec "$@"',
        "sh",
    )
    kind, text = failure(nodes, "a", tmp_path / "c.pcapng", before=hidden)
    assert kind == "MachineError"
    assert "apt-get install wireshark-common" in text


def test_a_user_who_may_not_capture_is_told_what_it_takes(nodes, open_folder):
    kind, text = failure(nodes, "a", open_folder / "c.pcapng", before=NOBODY)
    assert kind == "MachineError"
    assert "CAP_NET_RAW" in text


def test_an_interface_that_disappears_ends_the_capture_with_an_error(nodes, tmp_path, other):
    with capture(nodes, "a", tmp_path / "c.pcapng", interface=other) as running:
        running.ready()
        nodes.run("a", f"ip link del {other}")
        said = running.event()
    assert (said["kind"], said["data"]["type"]) == ("failed", "CaptureError")
    assert other in said["data"]["text"]


def test_a_full_disk_is_an_error_at_the_end_at_the_latest(nodes):
    small = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=64k none /mnt && exec "$@"', "sh")
    with nodes.sender("a") as sender, capture(nodes, "a", "/mnt/c.pcapng", before=small) as running:
        running.ready()
        sender.send(*["x" * 1000] * 100)
        running.process.stdin.close()
        said = running.event()
    assert (said["kind"], said["data"]["type"]) == ("failed", "CaptureError")
    assert "no space left" in said["data"]["text"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_program_takes_dumpcap_with_it_and_leaves_what_it_had(nodes, tmp_path, number):
    with capture(nodes, "a", tmp_path / "c.pcapng") as running:
        running.ready()
        dumpcap = os.pidfd_open(running.dumpcap)
        running.process.send_signal(number)
        running.process.wait()
        assert select.select([dumpcap], [], [], 30)[0]
        os.close(dumpcap)
    assert read_file(tmp_path / "c.pcapng", allow_truncated=True).interfaces[0].name == "eth0"


def test_a_live_capture_is_pcapng_on_standard_output_with_the_events_beside_it(nodes):
    with nodes.sender("a") as sender, capture(nodes, "a", "-") as running:
        running.ready()
        sender.send("first", "last")
        running.process.stdin.close()
        packets = read(running.process.stdout.read())
        assert running.event()["kind"] == "done"
    udp = numbers(classify(packets).kind == Kind.UDP).tolist()
    assert [packets.packet(number)[62:] for number in udp] == [b"first", b"last"]


@pytest.mark.parametrize("traffic", [True, False], ids=["with traffic", "in silence"])
def test_a_live_capture_ends_well_when_its_reader_goes_away(nodes, traffic):
    with nodes.sender("a") as sender, capture(nodes, "a", "-") as running:
        running.ready()
        running.process.stdout.close()
        if traffic:
            sender.send(*"abc")
        assert running.event()["kind"] == "done"
        assert running.process.wait(30) == 0


def test_a_live_capture_that_cannot_start_says_so_beside_its_output(nodes):
    assert failure(nodes, "a", "-", "--snaplen=1")[0] == "ParameterError"
    assert failure(nodes, "a", "-", interface="nope")[0] == "CaptureError"
