"""How fast a capture is read: by Hopbed, by tshark and by scapy, the same file in the same run.

``python benchmarks/capture_reading.py [PACKETS]``: by default a million ESP-in-UDP packets of 126 octets.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import PcapNgReader, RawPcapNgReader

from orchestrator.capture.classify import Kind, classify
from orchestrator.capture.pcapng import read_file

_PACKETS = 1_000_000
_OCTETS = 126
_AT_A_TIME = 10_000


def main() -> None:
    """Make the file, read it in every way, print packets a second."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else _PACKETS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "capture.pcapng")
        _write(path, count)
        print(f"{count:,} packets of {_OCTETS} octets, {path.stat().st_size / 1e6:.0f} MB")
        for name, way in _ways(path).items():
            started = time.perf_counter()
            found = way()
            seconds = time.perf_counter() - started
            if found != count:
                sys.exit(f"{name} found {found} of {count} packets")
            print(f"{name:40} {seconds:8.2f} s {count / seconds:12,.0f} packets/s", flush=True)


def _write(path: Path, count: int) -> None:
    layers = (
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / IPv6(src="fd00::a", dst="fd00::b")
        / UDP(sport=4500, dport=4500)
    )
    octets = bytes(layers / Raw(b"\xc0\xff\xee\x01" + bytes(_OCTETS - len(layers) - 4)))
    body = octets + bytes(-len(octets) % 4)
    length = 32 + len(body)
    head, tail = struct.Struct("<IIIIIII"), struct.pack("<I", length)
    with path.open("wb") as file:
        file.write(struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28))
        file.write(struct.pack("<IIHHIHHB3xII", 1, 32, 1, 0, 262_144, 9, 1, 9, 0, 32))
        for first in range(0, count, _AT_A_TIME):
            times = (
                1_700_000_000_000_000_000 + n * 100_000 for n in range(first, min(first + _AT_A_TIME, count))
            )
            file.write(
                b"".join(
                    head.pack(6, length, 0, t >> 32, t & 0xFFFF_FFFF, len(octets), len(octets)) + body + tail
                    for t in times
                )
            )


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
