"""Where strongSwan is installed on this system, and how its charon is started."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

from nodes import errors

DIRECTORIES = (Path("/usr/lib/ipsec"), Path("/usr/libexec/ipsec"), Path("/usr/lib/strongswan"))
PACKAGES = "strongswan-charon libcharon-extra-plugins libstrongswan-standard-plugins"
MEND = f"apt-get install --no-install-recommends {PACKAGES}"
APPARMOR = Path("/sys/module/apparmor/parameters/enabled")

_PT_INTERP = 3


@dataclasses.dataclass(frozen=True)
class Installation:
    """An installed strongSwan: its charon, and the names of its plugins."""

    charon: Path
    plugins: frozenset[str]

    def command(self) -> list[str]:
        """The command line that starts charon.

        Debian and Ubuntu confine /usr/lib/ipsec/charon by an AppArmor profile that knows /etc and
        /run/charon.* only, and attaches by the path of what is executed. Where AppArmor is on, charon is
        therefore executed by its dynamic loader, which has no profile; a node has its own confinement.
        """
        if _apparmor_enabled():
            return [str(program_interpreter(self.charon)), str(self.charon)]
        return [str(self.charon)]


def find() -> Installation:
    """The installed strongSwan.

    Raises:
        MachineError: there is none; the text says how to install it.
    """
    for directory in DIRECTORIES:
        charon = directory / "charon"
        if charon.exists():
            found = (directory / "plugins").glob("libstrongswan-*.so")
            return Installation(charon, frozenset(one.stem.removeprefix("libstrongswan-") for one in found))
    raise errors.MachineError(f"strongSwan's charon is not installed in this node. Install it: {MEND}")


def _apparmor_enabled() -> bool:
    try:
        return APPARMOR.read_text().startswith("Y")
    except OSError:
        return False


def program_interpreter(program: Path) -> Path:
    """The dynamic loader that a 64-bit little-endian ELF program names (ELF: segment PT_INTERP).

    Raises:
        MachineError: it names none.
    """
    image = program.read_bytes()
    (table,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    for number in range(count):
        at = table + number * size
        kind, _flags, offset = struct.unpack_from("<IIQ", image, at)
        if kind == _PT_INTERP:
            (length,) = struct.unpack_from("<Q", image, at + 32)
            return Path(image[offset : offset + length].rstrip(b"\0").decode())
    raise errors.MachineError(f"{program} is no program that a dynamic loader can start")
