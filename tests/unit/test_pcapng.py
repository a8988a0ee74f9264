import random
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pcapng_building import (
    SECOND,
    SIMPLE,
    STATISTICS,
    T0,
    block,
    interface,
    option,
    packet,
    section,
    statistics,
)
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgWriter

from nodes.errors import UsageError
from orchestrator.capture import pcapng
from orchestrator.capture.pcapng import PcapngError, read, read_file

ORDERS = pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])


def contents(packets):
    return [packets.packet(number) for number in range(1, len(packets) + 1)]


@ORDERS
def test_packets_come_with_times_lengths_and_interfaces(order):
    file = section(order) + interface(order, name="eth0") + interface(order, name="ipsec0", link_type=101)
    file += packet(b"first", T0, order) + packet(b"second!", T0 + 7, order, on=1, original=1500)
    packets = read(file)
    assert contents(packets) == [b"first", b"second!"]
    assert packets.time_ns.tolist() == [T0, T0 + 7]
    assert packets.captured.tolist() == [5, 7]
    assert packets.original.tolist() == [5, 1500]
    assert [packets.interfaces[i].name for i in packets.interface] == ["eth0", "ipsec0"]
    assert packets.link_type.tolist() == [1, 101]


@ORDERS
def test_interfaces_come_with_filter_snaplen_and_counts(order):
    file = section(order) + interface(order, name="eth0", snaplen=96, wanted="udp port 500")
    file += statistics(order, received=12, dropped=3)
    (found,) = read(file).interfaces
    assert (found.snaplen, found.filter, found.received, found.dropped) == (96, "udp port 500", 12, 3)
    assert read(file).dropped == 3


def test_drops_are_unknown_where_an_interface_has_no_count():
    file = section() + interface() + interface() + statistics(on=0, dropped=0)
    assert read(file).dropped is None
    assert read(file + statistics(on=1, dropped=2**64 - 1)).dropped is None
    assert read(file + statistics(on=1, dropped=5)).dropped == 5


def test_the_writing_application_is_known():
    assert read(section(application="Dumpcap 4.0")).application == "Dumpcap 4.0"


@pytest.mark.parametrize(
    ("resolution", "ticks", "time_ns"),
    [
        (None, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (3, 1_700_000_000_123, 1_700_000_000_123_000_000),
        (0, 1_700_000_000, T0),
        (9, T0 + 1, T0 + 1),
        (12, 1_000_000_123_456_789, 1_000_000_123_456),
        (0x80 | 10, (5 << 10) + 512, 5 * SECOND + SECOND // 2),
        (0x80 | 32, (5 << 32) + (1 << 30), 5 * SECOND + SECOND // 4),
        (0x80 | 60, (5 << 60) + (1 << 59) + 1, 5 * SECOND + SECOND // 2),
    ],
)
def test_time_stamps_count_in_the_interfaces_own_resolution(resolution, ticks, time_ns):
    file = section() + interface(resolution=resolution) + packet(b"", ticks)
    assert read(file).time_ns.tolist() == [time_ns]


@ORDERS
@pytest.mark.parametrize("offset", [3600, -3600])
def test_time_stamps_count_from_the_interfaces_own_offset(order, offset):
    file = section(order) + interface(order, offset=offset) + packet(b"", T0, order)
    assert read(file).time_ns.tolist() == [T0 + offset * SECOND]


def test_each_section_has_its_own_byte_order_and_interfaces():
    file = section("<") + interface("<", name="a") + packet(b"1", T0, "<")
    file += section(">") + interface(">", name="b", resolution=6) + packet(b"2", T0 // 1000, ">")
    file += section("<") + interface("<", name="c") + packet(b"3", T0, "<")
    packets = read(file)
    assert contents(packets) == [b"1", b"2", b"3"]
    assert [packets.interfaces[i].name for i in packets.interface] == ["a", "b", "c"]
    assert packets.time_ns.tolist() == [T0, T0, T0]


def test_an_interface_may_be_described_between_packets():
    file = section() + interface(name="a") + packet(b"1") + interface(name="b") + packet(b"2", on=1)
    assert read(file).interface.tolist() == [0, 1]


def test_unknown_blocks_and_options_are_passed_over():
    file = section() + block(0x0BAD, b"some" * 9) + interface() + packet(b"1", values={2: b"\1\0\0\0"})
    file += block(0x40000BAD, b"") + packet(b"2")
    assert contents(read(file)) == [b"1", b"2"]


def test_a_packet_that_holds_a_capture_is_one_packet():
    decoys = packet(b"decoy", T0) + packet(b"another", T0)
    file = section() + interface()
    for filler in range(4):
        file += packet(b"x" * filler + decoys) + packet(b"y")
    assert contents(read(file)) == [c for n in range(4) for c in (b"x" * n + decoys, b"y")]


@pytest.mark.parametrize("words", [1, 2, 3, 5, 7, 64])
def test_blocks_may_lie_across_the_windows_that_are_searched(monkeypatch, words):
    monkeypatch.setattr(pcapng, "_WINDOW", words)
    octets = [bytes([n]) * n for n in range(40)]
    file = section() + interface() + b"".join(packet(o) for o in octets[:20])
    file += (
        block(77, bytes(48))
        + section(">")
        + interface(">")
        + b"".join(packet(o, T0, ">") for o in octets[20:])
    )
    assert contents(read(file)) == octets


def test_a_capture_without_packets_is_one():
    assert len(read(section())) == 0
    assert len(read(section() + interface())) == 0


SOUND = section() + interface(name="eth0") + packet(b"abcd") + packet(b"efgh")
HEAD = len(section() + interface())

BROKEN = {
    "no file at all": (b"", 0, "not a pcapng file"),
    "text": (b"#!/bin/sh\n", 0, "not a pcapng file"),
    "classic pcap": (bytes.fromhex("d4c3b2a1") + bytes(20), 0, "editcap"),
    "no byte-order magic": (SOUND[:8] + b"\0\0\0\0" + SOUND[12:], 0, "byte-order magic"),
    "another version": (SOUND[:12] + b"\2\0" + SOUND[14:], 0, "version 2.0"),
    "cut in the section header": (SOUND[:20], 0, "ends within"),
    "cut in the last packet": (SOUND[:-6], len(SOUND) - 36, "ends within"),
    "cut in a block's length": (SOUND[: -36 + 6], len(SOUND) - 36, "ends within"),
    "a length that reaches beyond the end": (
        SOUND + b"\6\0\0\0\xf0\xff\xff\xff" + bytes(64),
        len(SOUND),
        "ends within",
    ),
    "a length of 0": (SOUND + bytes(16), len(SOUND), "0 octets cannot be"),
    "a length that is odd": (SOUND + b"\1\0\0\0\x0d\0\0\0" + bytes(16), len(SOUND), "13 octets cannot be"),
    "two lengths": (SOUND[:-4] + b"\x28\0\0\0", len(SOUND) - 36, "at its end 40"),
    "a packet of no interface": (section() + packet(b"abcd"), 28, "not described"),
    "a packet before its interface": (section() + packet(b"") + interface(), 28, "not described"),
    "a packet longer than its block": (
        section() + interface() + block(6, bytes(12) + b"\5\0\0\0" + bytes(8)),
        HEAD,
        "longer than its block",
    ),
    "a packet block without room": (section() + interface() + block(6, bytes(16)), HEAD, "too short"),
    "an interface block without room": (section() + block(1, bytes(4)), 28, "too short"),
    "statistics without room": (section() + interface() + block(STATISTICS, bytes(8)), HEAD, "too short"),
    "statistics of no interface": (section() + statistics(), 28, "not described"),
    "an option longer than its block": (
        section() + block(1, bytes(8) + b"\2\0\xff\0" + bytes(8)),
        28 + 16,
        "longer than its block",
    ),
    "a resolution that no clock has": (section() + interface(resolution=99), 28, "not supported"),
    "a malformed resolution": (section() + block(1, bytes(8) + option(9, b"12")), 28, "malformed"),
    "an offset out of range": (section() + interface(offset=2**62), 28, "out of range"),
    "a time out of range": (section() + interface(resolution=0) + packet(b"", 2**63), HEAD, "out of range"),
    "a simple packet": (section() + interface() + block(SIMPLE, bytes(8)), HEAD, "no time"),
}


@pytest.mark.parametrize(("file", "offset", "text"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_one_clear_error_that_names_the_octet(file, offset, text):
    with pytest.raises(PcapngError, match=f"^some.pcapng: at octet {offset}: .*{text}") as caught:
        read(file, name="some.pcapng")
    assert caught.value.offset == offset
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize("left", range(1, 36))
def test_a_capture_that_was_killed_can_be_read_up_to_the_cut(left):
    packets = read(SOUND[: -36 + left], allow_truncated=True)
    assert contents(packets) == [b"abcd"]
    assert packets.truncated_at == len(SOUND) - 36
    assert read(SOUND, allow_truncated=True).truncated_at is None


def test_a_cut_within_the_first_header_leaves_nothing_to_read():
    with pytest.raises(PcapngError):
        read(SOUND[:20], allow_truncated=True)


def test_a_file_that_is_not_there_or_empty_is_a_clear_error(tmp_path):
    with pytest.raises(PcapngError, match="none.pcapng: cannot read"):
        read_file(tmp_path / "none.pcapng")
    (tmp_path / "empty.pcapng").touch()
    with pytest.raises(PcapngError, match="empty.pcapng: cannot read"):
        read_file(tmp_path / "empty.pcapng")


def test_a_file_that_scapy_wrote_reads_as_it_was(tmp_path):
    path = tmp_path / "scapy.pcapng"
    frames = [Ether() / IPv6(dst="ff02::1") / (b"x" * n) for n in range(200)]
    with PcapNgWriter(str(path)) as writer:
        for n, frame in enumerate(frames):
            frame.time = 1_700_000_000 + n
            writer.write(frame)
    packets = read_file(path)
    assert contents(packets) == [bytes(frame) for frame in frames]
    assert (np.diff(packets.time_ns) == SECOND).all()


def test_it_agrees_with_tshark(tmp_path):
    chance = random.Random(1)
    file = section() + interface(name="eth0") + interface(name="br0", resolution=6)
    for n in range(3000):
        on = chance.randrange(2)
        octets = chance.randbytes(chance.randrange(60, 1500))
        ticks = (T0 + n * 1_234_567_891) // (1000 if on else 1)
        file += packet(octets, ticks, on=on, original=len(octets) + chance.randrange(3))
    path = tmp_path / "both.pcapng"
    path.write_bytes(file)
    fields = ["number", "time_epoch", "interface_name", "cap_len", "len"]
    said = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", *(f"-eframe.{field}" for field in fields)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    packets = read_file(path)
    assert len(said) == len(packets) == 3000
    for index, line in enumerate(said):
        number, time, name, captured, original = line.split("\t")
        seconds, _, fraction = time.partition(".")
        assert int(number) == index + 1
        assert int(seconds) * SECOND + int(fraction.ljust(9, "0")) == packets.time_ns[index]
        assert name == packets.interfaces[packets.interface[index]].name
        assert (int(captured), int(original)) == (packets.captured[index], packets.original[index])


BLOCKS = st.one_of(
    st.builds(packet, st.binary(max_size=80), st.integers(0, 2**63), on=st.integers(0, 2)),
    st.builds(
        interface,
        resolution=st.one_of(st.none(), st.integers(0, 255)),
        offset=st.integers(-(2**63), 2**63 - 1),
    ),
    st.builds(statistics, on=st.integers(0, 2), dropped=st.integers(0, 2**64 - 1)),
    st.builds(section),
    st.builds(block, st.integers(0, 12), st.binary(max_size=40)),
    st.builds(interface, st.just(">")),
    st.binary(max_size=12),
)


@settings(max_examples=1500, deadline=None)
@given(blocks=st.lists(BLOCKS, max_size=12), truncated=st.booleans(), words=st.sampled_from([1, 5, 1 << 20]))
def test_no_sequence_of_blocks_raises_anything_else(blocks, truncated, words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pcapng, "_WINDOW", words)
        _read_or_refuse(section() + b"".join(blocks), truncated)


@settings(max_examples=1500, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, len(SOUND)),
    truncated=st.booleans(),
)
def test_no_change_of_a_sound_file_raises_anything_else(changes, cut, truncated):
    file = bytearray(SOUND)
    for position, value in changes:
        file[position] = value
    _read_or_refuse(bytes(file[:cut]), truncated)


def _read_or_refuse(file, truncated):
    try:
        packets = read(file, allow_truncated=truncated)
    except PcapngError:
        return
    for number in range(1, len(packets) + 1):
        assert len(packets.packet(number)) == packets.captured[number - 1]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=120), st.integers(0, T0), st.booleans()), max_size=60),
    st.sampled_from("<>"),
    st.sampled_from([1, 9, 1 << 20]),
)
def test_whatever_is_written_is_read(written, order, words):
    file = section(order) + interface(order)
    for octets, time_ns, gap in written:
        file += packet(octets, time_ns, order) + (block(99, octets[:8].ljust(8), order) if gap else b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pcapng, "_WINDOW", words)
        packets = read(file)
    assert contents(packets) == [octets for octets, _, _ in written]
    assert packets.time_ns.tolist() == [time_ns for _, time_ns, _ in written]
