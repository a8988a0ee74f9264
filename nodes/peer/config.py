"""A peer's strongswan.conf (strongswan.conf(5)), without I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from nodes.peer.model import Dataplane
from nodes.peer.options import PeerOptions

PLUGINS = (
    *("random", "nonce", "aes", "sha1", "sha2", "hmac", "kdf", "gcm", "openssl", "gmp"),
    *("pem", "pkcs1", "pkcs8", "x509", "pubkey", "constraints", "counters"),
    *("kernel-libipsec", "kernel-netlink", "socket-default", "error-notify", "updown", "vici"),
)
"""In the order in which charon asks them. kernel-netlink stands after kernel-libipsec, which then is the
one that carries ESP, while routes and addresses stay with kernel-netlink."""
USERSPACE_PLUGIN = "kernel-libipsec"
KEY_LOG = "charon-keys.log"
"""Where a peer with the option ``keys`` writes its keys: beside its log, which stays free of them."""

Section = Mapping[str, "str | int | float | bool | Section"]


def plugins(dataplane: Dataplane, available: Collection[str]) -> list[str]:
    """The plugins to load: of :data:`PLUGINS` those that this release has and this data plane wants."""
    wanted = (name for name in PLUGINS if dataplane == "userspace" or name != USERSPACE_PLUGIN)
    return [name for name in wanted if name in available]


def strongswan_conf(
    options: PeerOptions,
    *,
    dataplane: Dataplane,
    available: Collection[str],
    vici_socket: Path,
    error_socket: Path,
    log: Path,
) -> str:
    """The text of strongswan.conf.

    Args:
        options: the peer's settings.
        dataplane: what carries ESP.
        available: the names of the plugins that are installed.
        vici_socket: where VICI listens.
        error_socket: where the error-notify plugin listens.
        log: charon's log file. Its standard error gets what concerns the daemon itself.
    """
    written: dict[str, str | int | float | bool | Section] = {
        "time_format": "%FT%T",
        "time_add_ms": True,  # up to strongSwan 5.9
        "time_precision": "us",  # from 6.0
        "ike_name": True,
        "flush_line": True,
    }
    logs: dict[str, Section] = {
        "log": {"path": str(log), "default": options.log_level, **written},
        "stderr": {"default": 0, "dmn": 1, "job": 1, "flush_line": True},
    }
    if options.keys:
        # ike and chd print keys at level 4; cfg names the algorithms that they are for.
        path = str(log.with_name(KEY_LOG))
        logs["keys"] = {"path": path, "default": -1, "cfg": 1, "ike": 4, "chd": 4, **written}
    charon: dict[str, str | int | float | bool | Section] = {
        "load_modular": False,
        "load": " ".join(plugins(dataplane, available)),
        "install_routes": True,
        "install_virtual_ip": False,
        "filelog": logs,
        "plugins": {
            "vici": {"socket": f"unix://{vici_socket}"},
            "error-notify": {"socket": f"unix://{error_socket}"},
            "kernel-libipsec": {"load": dataplane == "userspace"},
        },
    }
    for key in ("retransmit_timeout", "retransmit_base", "retransmit_tries"):
        value = getattr(options, key)
        if value is not None:
            charon[key] = value
    return "\n".join(_lines({"charon": charon})) + "\n"


def _lines(section: Section, indent: str = "") -> list[str]:
    lines: list[str] = []
    for key, value in section.items():
        match value:
            case bool():
                lines.append(f"{indent}{key} = {'yes' if value else 'no'}")
            case str() | int() | float():
                lines.append(f"{indent}{key} = {value}")
            case _:
                lines += [f"{indent}{key} {{", *_lines(value, indent + "  "), f"{indent}}}"]
    return lines
