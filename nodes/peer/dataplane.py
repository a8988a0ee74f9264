"""Which data plane works in this node: found out by trying, never by guessing from versions."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple

from nodes import errors
from nodes.peer import installation
from nodes.peer.config import USERSPACE_PLUGIN
from nodes.peer.iproute import run_ip
from nodes.peer.model import Dataplane

TUN = Path("/dev/net/tun")
MEND_KERNEL = "modprobe -a esp6 esp4 xfrm_user authenc gcm"
MEND_TUN = f"modprobe tun && mkdir -p {TUN.parent} && mknod -m 0666 {TUN} c 10 200"

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_STATE = ("src", "100::1", "dst", "100::2", "proto", "esp", "spi", "0x00000fff")
"""An ESP state between addresses of the discard prefix (RFC 6666), which nobody uses."""
_ALGORITHMS = (
    ("aead", "rfc4106(gcm(aes))", f"0x{'00' * 20}", "128"),
    ("enc", "cbc(aes)", f"0x{'00' * 16}", "auth-trunc", "hmac(sha256)", f"0x{'00' * 32}", "128"),
)
"""What our default proposals and those of the IKEv1 endpoint need of the kernel."""


class Choice(NamedTuple):
    """The data plane of a node, and why it is this one."""

    dataplane: Dataplane
    reason: str


async def kernel_refusal() -> str | None:
    """Why the kernel carries no ESP in this network namespace; None: it does.

    Adds an ESP state for each set of algorithms that we negotiate, and takes it away again.
    """
    for algorithms in _ALGORITHMS:
        refusal = await run_ip("xfrm", "state", "add", *_STATE, "mode", "tunnel", *algorithms)
        if refusal is not None:
            return f"the kernel refuses ESP with {algorithms[1]}: {refusal}"
        await run_ip("xfrm", "state", "delete", *_STATE)
    return None


def userspace_refusal(plugins: Collection[str]) -> str | None:
    """Why charon cannot carry ESP itself here; None: it can. Opens a TUN device and closes it again."""
    if USERSPACE_PLUGIN not in plugins:
        return f"strongSwan's plugin {USERSPACE_PLUGIN} is not installed ({installation.MEND})"
    try:
        device = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return f"{TUN} does not exist ({MEND_TUN}; a container needs it among its devices)"
    except OSError as error:
        return f"{TUN} cannot be opened: {error.strerror} (as root: chmod 0666 {TUN})"
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"hopbed%d", _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        return f"{TUN} gives no device: {error.strerror} (the node needs the capability NET_ADMIN)"
    finally:
        os.close(device)
    return None


async def choose(wanted: Literal["auto", "kernel", "userspace"], plugins: Collection[str]) -> Choice:
    """The data plane to use: the one that is wanted, or with ``auto`` the first that works, the kernel first.

    Raises:
        MachineError: it does not work here; the text says what is missing and what mends it.
    """
    kernel = await kernel_refusal() if wanted != "userspace" else None
    if wanted != "userspace" and kernel is None:
        return Choice("kernel", "an ESP state could be added")
    if wanted == "kernel":
        raise errors.MachineError(f"no kernel ESP in this node: {kernel}. Try: {MEND_KERNEL}")
    userspace = userspace_refusal(plugins)
    if userspace is None:
        return Choice("userspace", "asked for" if kernel is None else kernel)
    if kernel is None:
        raise errors.MachineError(f"no ESP in user space in this node: {userspace}")
    raise errors.MachineError(
        f"nothing carries ESP in this node: {kernel}. Try: {MEND_KERNEL}. Nor in user space: {userspace}"
    )
