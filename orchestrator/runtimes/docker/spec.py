"""What the engine is asked for: a plan's network and containers as the Engine API takes them. No I/O.

See the Engine API, ``ContainerCreate`` and ``NetworkCreate``.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from nodes import INTERFACE
from nodes.agent import LOG_DIR, RUN_DIR
from orchestrator.runtimes.base import BRIDGE
from orchestrator.runtimes.docker import labels
from orchestrator.runtimes.docker.owner import Owner
from orchestrator.runtimes.docker.run_folder import RunFolder
from orchestrator.topology.plan import Dad, NodePlan, RoleName, RunPlan

PYTHON = ("/opt/hopbed/bin/python",)
"""The interpreter in the node image."""
ENTRY_POINT = "hopbed-node"
_INIT = [*PYTHON, "-m", "nodes.container_init", ENTRY_POINT]
_NET_RAW = "NET_RAW"
CAPABILITIES = (
    "CHOWN",  # sockets and logs are given to the user who owns the run
    "DAC_OVERRIDE",  # the folders of a run are that user's alone, and the agent writes there
    "FOWNER",  # the same folders: modes of files that are the user's
    "KILL",  # the end of a command that changed its user, such as a session of sshd
    "NET_ADMIN",  # addresses, routes, nftables, TUN, XFRM; the container sets up its own interface
    "NET_BIND_SERVICE",  # IKE's port 500
    "SETGID",  # sshd and dumpcap give up their privileges
    "SETUID",
    "SYS_CHROOT",  # so does sshd, into an empty folder
    "SYS_NICE",  # the hop daemon is weighed before the applications of its node
)
"""What every node has of the kernel's capabilities; NET_RAW besides where the compose file names it."""
_HARDENING: dict[str, Any] = {"CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges:true"]}
_ADVERTISED = {"accept_ra": "2", "autoconf": "1"}
"""A terminal takes the prefixes that a router advertises: Docker's default is not to, and inside a container
nobody can change it."""
_ENDPOINT_SYSCTLS = "com.docker.network.endpoint.sysctls"
_ENDPOINT_SYSCTLS_SINCE = (1, 46)
"""The API from which on an interface's sysctls belong to its endpoint (moby #47686, #48746)."""


class Platform(NamedTuple):
    """What a configuration depends on: the version of the Engine API, and an option of the kernel.

    A kernel without CONFIG_IPV6_OPTIMISTIC_DAD does full duplicate address detection instead.
    """

    api: tuple[int, int]
    has_optimistic_dad: bool


def container_name(plan: RunPlan, place: str) -> str:
    """The name of the container of a node, or of the bridge's place."""
    return f"{plan.project}-{place}"


def network_name(plan: RunPlan) -> str:
    """The network's name, as Compose makes it: Compose 1 looks for no other."""
    return f"{plan.project}_{labels.COMPOSE_NETWORK}"


def network_of(plan: RunPlan, owner: Owner, folder: RunFolder) -> dict[str, Any]:
    """The run's network, as the SDK's ``create_network`` takes it."""
    pool = {"Subnet": str(plan.network), "Gateway": str(host_address(plan))}
    own = labels.of_run(plan.run_id, owner, folder.path) | labels.of_network(plan)
    return ipv6_network(network_name(plan), pool, own)


def ipv6_network(name: str, pool: Mapping[str, str], own_labels: Mapping[str, str]) -> dict[str, Any]:
    """A bridge network with IPv6, as the SDK's ``create_network`` takes it.

    It is internal: nothing in it is to reach, or to be reached from, anything else. The engine gives it an
    IPv4 range besides.
    """
    return {
        "name": name,
        "driver": "bridge",
        "internal": True,
        "enable_ipv6": True,
        "check_duplicate": True,  # not the default before Engine 25
        "ipam": {"Driver": "default", "Config": [dict(pool)]},
        "labels": dict(own_labels),
    }


def host_address(plan: RunPlan) -> ipaddress.IPv6Address:
    """The address that the host gets on the bridge: Docker would take the lowest, which a node may have.

    It is the highest but one: the engine does not allocate the last address of a prefix.
    """
    taken = {node.address.ip for node in plan.nodes}
    address = plan.network.broadcast_address - 1
    while address in taken:
        address -= 1
    return address


def node_config(
    plan: RunPlan, node: NodePlan, owner: Owner, folder: RunFolder, platform: Platform
) -> dict[str, Any]:
    """The container of a node."""
    dad = _dad_settings(plan.dad, platform)
    sysctls = {
        f"net.ipv6.conf.{scope}.{name}": value for scope in ("all", "default") for name, value in dad.items()
    }
    of_interface = dad | (_ADVERTISED if node.role is RoleName.TERMINAL else {})
    endpoint: dict[str, Any] = {
        "Aliases": [node.name],
        "IPAMConfig": {"IPv6Address": str(node.address.ip)},
    }
    if platform.api < _ENDPOINT_SYSCTLS_SINCE:
        sysctls |= {f"net.ipv6.conf.{INTERFACE}.{name}": value for name, value in of_interface.items()}
    elif of_interface:
        named = [f"net.ipv6.conf.IFNAME.{name}={value}" for name, value in of_interface.items()]
        endpoint["DriverOpts"] = {_ENDPOINT_SYSCTLS: ",".join(named)}
    config: dict[str, Any] = {
        "Image": node.image,
        "Hostname": node.name,
        "Entrypoint": _INIT,
        "Cmd": [node.role.value],
        "Env": _environment(plan, node),
        "HostConfig": {
            "NetworkMode": network_name(plan),
            "CapAdd": sorted({*node.cap_add, *CAPABILITIES}),
            **_HARDENING,
            "Devices": [_device(text) for text in node.devices],
            "Sysctls": sysctls | dict(node.sysctls),
            "Init": node.init,
            "Mounts": _mounts(plan, node.name, folder),
            "ExtraHosts": [f"{other.name}:{other.address.ip}" for other in plan.nodes if other != node],
        },
        "NetworkingConfig": {"EndpointsConfig": {network_name(plan): endpoint}},
    }
    config["Labels"] = labels.of_run(plan.run_id, owner, folder.path) | labels.of_service(plan, node, config)
    return config


def bridge_config(plan: RunPlan, owner: Owner, folder: RunFolder) -> dict[str, Any]:
    """The container of the bridge's place: in the host's network, no service of the project."""
    return {
        "Image": image(plan),
        "Cmd": [RoleName.HOST.value],
        "Labels": labels.of_run(plan.run_id, owner, folder.path) | {labels.NODE: BRIDGE},
        "HostConfig": {
            "NetworkMode": "host",
            "CapAdd": sorted({*CAPABILITIES, _NET_RAW}),
            **_HARDENING,
            "Init": True,
            "Mounts": _mounts(plan, BRIDGE, folder),
        },
    }


def image(plan: RunPlan) -> str:
    """The image of what is no node's container: the nodes' own."""
    return plan.nodes[0].image if plan.nodes else NodePlan.image


def _environment(plan: RunPlan, node: NodePlan) -> list[str]:
    return [
        f"HOPBED_NODE={node.name}",
        f"HOPBED_OWNER={plan.owner}",
        f"HOPBED_OPTIONS={json.dumps(node.options(plan))}",
        f"HOPBED_DAD={plan.dad.value}",
    ]


def _mounts(plan: RunPlan, place: str, folder: RunFolder) -> list[dict[str, str]]:
    """The run directory, and within it the log folder where that stands elsewhere.

    Mounts rather than Binds: a path may hold a colon, and a folder that is not there is an error.
    """
    mounts = [{"Type": "bind", "Source": str(folder.place(place)), "Target": str(RUN_DIR)}]
    if plan.log_dir is not None:
        mounts.append({"Type": "bind", "Source": str(folder.log(plan, place)), "Target": str(LOG_DIR)})
    return mounts


def _device(text: str) -> dict[str, str]:
    """A device in Compose's short form: ``HOST[:CONTAINER[:PERMISSIONS]]``."""
    host, _, rest = text.partition(":")
    inside, _, permissions = rest.partition(":")
    return {
        "PathOnHost": host,
        "PathInContainer": inside or host,
        "CgroupPermissions": permissions or "rwm",
    }


def _dad_settings(dad: Dad, platform: Platform) -> dict[str, str]:
    """The policy for addresses that nobody adds with flags of their own: those of RAs, of the kernel."""
    if dad is Dad.NODAD:
        return {"accept_dad": "0", "dad_transmits": "0"}
    if dad is Dad.OPTIMISTIC and platform.has_optimistic_dad:
        return {"optimistic_dad": "1", "use_optimistic": "1"}
    return {}
