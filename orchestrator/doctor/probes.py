"""The probes of kernel and tools: each tries one thing in namespaces of its own and leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Awaitable, Callable

import anyio
import msgspec

from nodes.events import Event
from nodes.peer import installation
from nodes.program import DONE
from orchestrator.doctor.finding import Finding, Need

Probe = Callable[[], Awaitable[Finding]]


def unshare_command() -> list[str]:
    """Begins a command line that runs in new namespaces, as a node's are; without root, in a user's too."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL"]


async def _try(script: str) -> tuple[bool, str]:
    """Whether a shell script succeeds in new namespaces, and what it said."""
    try:
        done = await anyio.run_process([*unshare_command(), "sh", "-ec", script], check=False)
    except FileNotFoundError as error:
        return False, f"{error.filename} is not installed"
    said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return done.returncode == 0, said[-1] if said and done.returncode else "works"


def _kernel_probe(
    name: str,
    purpose: str,
    need: Need,
    script: str,
    lost: str,
    mend: str,
    fix: tuple[tuple[str, ...], ...] = (),
) -> Probe:
    async def probe() -> Finding:
        present, detail = await _try(script)
        return Finding(
            name=name,
            purpose=purpose,
            need=need,
            present=present,
            detail=detail,
            lost=lost,
            mend=mend,
            fix=fix,
        )

    return probe


def _python(script: str) -> str:
    """A line of shell that runs Python without what its start-up loads besides."""
    return shlex.join([sys.executable, "-ISc", script])


def install(package: str) -> tuple[str, ...]:
    """The command that installs a Debian package."""
    return ("apt-get", "install", "-y", "--no-install-recommends", package)


def _tool_probe(tool: str, package: str, purpose: str, need: Need) -> Probe:
    async def probe() -> Finding:
        found = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        return Finding(
            name=tool,
            purpose=purpose,
            need=need,
            present=found is not None,
            detail=found or "not installed",
            lost=purpose,
            mend=f"apt-get install {package}",
            fix=(install(package),),
        )

    return probe


namespaces = _kernel_probe(
    "namespaces",
    "the namespaces runtime",
    Need.NAMESPACES,
    "ip link add probe0 type bridge; ip link add probe1 type veth peer name probe2; "
    "mount -t tmpfs tmpfs /run",
    "the namespaces runtime",
    "run as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu also "
    "sysctl kernel.apparmor_restrict_unprivileged_userns=0; in a container, give it NET_ADMIN and SYS_ADMIN",
)
tun = _kernel_probe(
    "TUN device",
    "the userspace data plane of peers",
    Need.OPTIONAL,
    "ip tuntap add dev probe0 mode tun",
    "ESP in user space, the only data plane where the kernel has no ESP",
    "modprobe tun; for users other than root: chmod 0666 /dev/net/tun",
    (("modprobe", "tun"),),
)
kernel_esp = _kernel_probe(
    "kernel ESP",
    "the kernel data plane of peers",
    Need.OPTIONAL,
    "ip xfrm state add src ::1 dst ::2 proto esp spi 0x1001 mode tunnel "
    "aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128",
    "ESP in the kernel; peers then use user space over TUN",
    "modprobe esp6, on a kernel that has it",
    (("modprobe", "esp6"),),
)
netem = _kernel_probe(
    "netem",
    "loss, delay and jitter of all traffic",
    Need.OPTIONAL,
    "tc qdisc add dev lo root netem delay 1ms",
    "impairments",
    "modprobe sch_netem, on a kernel that has it (Ubuntu: apt-get install linux-modules-extra-$(uname -r))",
    (("modprobe", "sch_netem"),),
)
nftables = _kernel_probe(
    "nftables",
    "address hopping, the abnormality guard, an endpoint's ESP in user space",
    Need.OPTIONAL,
    "nft 'add table ip6 t; add set ip6 t s { type ipv6_addr; flags timeout; }; "
    "add element ip6 t s { ::1 timeout 1s }'",
    "methods 1 and 2, and method 3 where the kernel has no ESP",
    "apt-get install nftables; modprobe nf_tables",
    (install("nftables"), ("modprobe", "nf_tables")),
)
nft_queue = _kernel_probe(
    "nft queue",
    "faults on IKE messages",
    Need.OPTIONAL,
    "nft 'add table ip6 t; add chain ip6 t c { type filter hook output priority 0; }; "
    "add rule ip6 t c queue num 1'",
    "one of two ways to the fault engine; xtables NFQUEUE is the other",
    "modprobe nft_queue, on a kernel that has it",
    (("modprobe", "nft_queue"),),
)
xt_queue = _kernel_probe(
    "xtables NFQUEUE",
    "faults on IKE messages",
    Need.OPTIONAL,
    "mount -t tmpfs tmpfs /run; ip6tables -A OUTPUT -p udp --dport 500 -j NFQUEUE --queue-num 1",
    "one of two ways to the fault engine; nft queue is the other",
    "apt-get install iptables; modprobe xt_NFQUEUE, on a kernel that has it",
    (install("iptables"), ("modprobe", "xt_NFQUEUE")),
)
raw_sockets = _kernel_probe(
    "raw sockets",
    "extension headers, captures, forged messages",
    Need.OPTIONAL,
    _python("import socket as s; s.socket(s.AF_INET6, s.SOCK_RAW, 60); s.socket(s.AF_PACKET, s.SOCK_RAW, 0)"),
    "address hopping, and captures",
    "run as root, or allow user namespaces; in a container, give it NET_RAW",
)
mptcp = _kernel_probe(
    "MPTCP",
    "the comparison of address hopping with it",
    Need.OPTIONAL,
    _python("import socket as s; s.socket(s.AF_INET6, s.SOCK_STREAM, 262)"),
    "mechanism=mptcp",
    "sysctl net.mptcp.enabled=1, on a kernel that has it",
)


async def peers(wanted: str = "auto") -> Finding:
    """Whether charon is installed and a data plane carries its ESP, in namespaces as a node's are."""
    command = [*unshare_command(), sys.executable, "-m", "nodes.peer.check", wanted]
    done = await anyio.run_process(command, check=False)
    said = msgspec.json.decode(done.stdout, type=Event) if done.stdout else None
    present = done.returncode == 0 and said is not None and said.kind == DONE
    detail = done.stderr.decode(errors="replace").strip()
    if said is not None:
        detail = str(said.data.get("text") or f"{said.data['dataplane']}: {said.data['reason']}")
    return Finding(
        name="peers",
        purpose="strongSwan peers in the namespaces runtime",
        need=Need.PEERS,
        present=present,
        detail=detail,
        lost="peers in the namespaces runtime",
        mend=installation.MEND if installation.MEND in detail else "see what was tried",
        fix=((*installation.MEND.split(), "-y"),) if installation.MEND in detail else (),
    )


tools: tuple[Probe, ...] = (
    _tool_probe("ip", "iproute2", "addresses and links", Need.NAMESPACES),
    _tool_probe("unshare", "util-linux", "entering namespaces", Need.NAMESPACES),
    _tool_probe("nsenter", "util-linux", "running commands in nodes", Need.NAMESPACES),
    _tool_probe("setpriv", "util-linux", "ending commands with their owner", Need.NAMESPACES),
    _tool_probe("dumpcap", "wireshark-common", "captures in the namespaces runtime", Need.NAMESPACES),
    _tool_probe("tshark", "tshark", "reading captures by hand, and the tests", Need.OPTIONAL),
    _tool_probe("curl", "curl", "curl through address hops", Need.OPTIONAL),
    _tool_probe("iperf3", "iperf3", "iperf3 through address hops", Need.OPTIONAL),
    _tool_probe("sshd", "openssh-server", "ssh through address hops", Need.OPTIONAL),
)
