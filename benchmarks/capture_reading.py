"""How fast a capture is read: by Hopbed, by tshark and by scapy, the same file in the same run.

``python benchmarks/capture_reading.py [--packets N] [--folder DIR]``: by default a million ESP-in-UDP packets
of 126 octets; ten million take 1.6 GB in DIR, for the length of the run.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import PcapNgReader, RawPcapNgReader

from orchestrator.capture.classify import Kind, classify
from orchestrator.capture.pcapng import read_file

_PACKETS = 1_000_000
_OCTETS = 126
_AT_A_TIME = 100_000
_BLOCK_OCTETS = 160


def main() -> None:
    """Make the file, read it in every way, print packets a second."""
    parser = argparse.ArgumentParser(description="packets per second of several readers of one file")
    parser.add_argument("--packets", type=int, default=_PACKETS, metavar="N", help="default: 1000000")
    parser.add_argument("--folder", type=Path, help="where the file is for the length of the run")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        if shutil.disk_usage(folder).free < 1.1 * asked.packets * _BLOCK_OCTETS:
            parser.error(f"{folder} has no room for {asked.packets:,} packets; name another --folder")
        path = Path(folder, "capture.pcapng")
        _write(path, asked.packets)
        print(f"{asked.packets:,} packets of {_OCTETS} octets, {path.stat().st_size / 1e6:.0f} MB")
        for name, way in _ways(path).items():
            started = time.perf_counter()
            found = way()
            seconds = time.perf_counter() - started
            if found != asked.packets:
                sys.exit(f"{name} found {found} of {asked.packets} packets")
            print(f"{name:40} {seconds:8.2f} s {asked.packets / seconds:12,.0f} packets/s", flush=True)
            if name.startswith("Hopbed"):
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(f"{'':40} {peak:8,.0f} MiB at most so far, the mapped file included", flush=True)


def _write(path: Path, count: int) -> None:
    layers = (
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / IPv6(src="fd00::a", dst="fd00::b")
        / UDP(sport=4500, dport=4500)
    )
    octets = bytes(layers / Raw(b"\xc0\xff\xee\x01" + bytes(_OCTETS - len(layers) - 4)))
    body = octets + bytes(-len(octets) % 4)
    length = 32 + len(body)
    assert length == _BLOCK_OCTETS
    head = struct.pack("<IIIIIII", 6, length, 0, 0, 0, len(octets), len(octets))
    block = np.frombuffer(head + body + struct.pack("<I", length), "<u4")
    with path.open("wb") as file:
        file.write(struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28))
        file.write(struct.pack("<IIHHIHHB3xII", 1, 32, 1, 0, 262_144, 9, 1, 9, 0, 32))
        for first in range(0, count, _AT_A_TIME):
            numbers = np.arange(first, min(first + _AT_A_TIME, count), dtype=np.uint64)
            times = np.uint64(1_700_000_000_000_000_000) + numbers * np.uint64(100_000)
            blocks = np.tile(block, (len(numbers), 1))
            blocks[:, 3], blocks[:, 4] = times >> np.uint64(32), times & np.uint64(0xFFFF_FFFF)
            file.write(blocks.tobytes())


def _ways(path: Path) -> dict[str, Callable[[], int]]:
    return {
        "Hopbed, into arrays": lambda: len(read_file(path)),
        "Hopbed, classified": lambda: int((classify(read_file(path)).kind == Kind.ESP_IN_UDP).sum()),
        "tshark, statistics": lambda: _tshark_statistics(path),
        "tshark, time, addresses and SPI": lambda: _tshark_fields(path),
        "scapy, octets": lambda: sum(1 for _ in RawPcapNgReader(str(path))),
        "scapy, dissected": lambda: sum(1 for _ in PcapNgReader(str(path))),
    }


def _tshark_statistics(path: Path) -> int:
    said = _tshark(path, "-q", "-z", "io,stat,0")
    (line,) = (line for line in said.splitlines() if "<>" in line)
    return int(line.split("|")[2])


def _tshark_fields(path: Path) -> int:
    fields = ["frame.time_epoch", "ipv6.src", "ipv6.dst", "esp.spi"]
    return len(_tshark(path, "-T", "fields", *(f"-e{field}" for field in fields)).splitlines())


def _tshark(path: Path, *arguments: str) -> str:
    line = ["tshark", "-n", "-r", str(path), *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
