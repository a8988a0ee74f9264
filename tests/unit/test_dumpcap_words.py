"""What dumpcap says, as recorded from dumpcap 4.0.17, and what it means."""

import pytest

from nodes.capture import dumpcap
from nodes.errors import CaptureError, MachineError, ParameterError

CAPTURING = "Capturing on 'eth0' and 'Loopback: lo'\n"
OPEN = CAPTURING + "File: -\n"
COUNTS = (
    "\rPackets captured: 48342\n"
    "Packets received/dropped on interface 'eth0': 48339/1667 "
    "(pcap:5/dumpcap:1660/flushed:2/ps_ifdrop:9) (96.7%)\n"
    "Packets received/dropped on interface 'Loopback: lo': 3/0 "
    "(pcap:0/dumpcap:0/flushed:0/ps_ifdrop:0) (100.0%)\n"
)


def test_it_captures_once_it_names_its_file():
    assert not dumpcap.is_open("")
    assert not dumpcap.is_open(CAPTURING)
    assert dumpcap.is_open(OPEN)


def test_the_totals_leave_out_what_came_after_the_end():
    assert dumpcap.totals(OPEN + COUNTS, ["eth0", "lo"]) == {
        "packets": 48342,
        "dropped": 1665,
        "interfaces": [
            {"name": "eth0", "received": 48339, "dropped": 1665},
            {"name": "lo", "received": 3, "dropped": 0},
        ],
    }


@pytest.mark.parametrize(
    "said", [OPEN, OPEN + COUNTS[: COUNTS.index("Loopback")], OPEN + "Segmentation fault"]
)
def test_totals_that_are_not_said_are_an_error(said):
    with pytest.raises(CaptureError):
        dumpcap.totals(said, ["eth0", "lo"])


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        (
            CAPTURING
            + "dumpcap: Invalid capture filter \"(foo) or x\" for interface 'eth0'.\n\nThat string isn't "
            "a valid capture filter (can't parse filter expression: syntax error).\nSee the User's Guide.\n",
            ParameterError,
            "'foo' is not a capture filter: can't parse filter expression: syntax error",
        ),
        (
            OPEN + 'dumpcap: The network adapter "eth0" is no longer attached; the capture has stopped.\n',
            CaptureError,
            'dumpcap ended: The network adapter "eth0" is no longer attached; the capture has stopped.',
        ),
        (
            "dumpcap: The capture session could not be initiated on interface 'eth0'\n(You don't have "
            "permission to capture on that device).\n",
            MachineError,
            "CAP_NET_RAW",
        ),
        (
            OPEN
            + 'dumpcap: Not all the packets could be written to the file\n("-") because there is no space '
            "left on the file system\n",
            CaptureError,
            "no space left on the file system",
        ),
        ("", CaptureError, "it said nothing"),
    ],
)
def test_the_way_it_failed_is_a_typed_error(said, kind, text):
    error = dumpcap.failure(said, "foo")
    assert type(error) is kind
    assert text in str(error)


def test_each_interface_has_its_own_filter_and_buffer():
    line = dumpcap.command("dumpcap", [("eth0", "udp"), ("tun0", None)], buffer_mib=16, snaplen=96)
    at = line.index("-i")
    assert line[at:] == [
        "-i",
        "eth0",
        "-B",
        "16",
        "-f",
        "udp",
        "-s",
        "96",
        "-i",
        "tun0",
        "-B",
        "16",
        "-s",
        "96",
    ]
