"""Brings up plain hosts by Hopbed and says so once the last answered the first. RUNTIME NODES"""

import ipaddress
import os
import sys
from pathlib import Path

import anyio

from orchestrator.runtimes.choose import runtime_type
from orchestrator.testbed import bring_up
from orchestrator.topology.addressing import random_site
from orchestrator.topology.plan import NodePlan, RoleName, RunPlan


def hosts(count: int) -> RunPlan:
    """A plan of so many plain hosts."""
    network = ipaddress.IPv6Network((random_site().network_address, 64))
    return RunPlan(
        run_id=os.urandom(4).hex(),
        network=network,
        nodes=tuple(
            NodePlan(
                name=f"host-{number}",
                role=RoleName.HOST,
                address=ipaddress.IPv6Interface((network[number + 2], 64)),
                cap_add=("NET_ADMIN", "NET_RAW"),
                sysctls={"net.ipv6.conf.all.disable_ipv6": "0"},
            )
            for number in range(count)
        ),
        owner=os.getuid(),
        log_dir=None,
        compose_file=Path("compose.yaml"),
    )


async def main(runtime: str, count: int) -> None:
    plan = hosts(count)
    async with bring_up(plan, runtime_type(runtime)) as bed:
        last = str(plan.nodes[-1].address.ip)
        await bed.node(plan.nodes[0].name).exec(["ping", "-6", "-c", "1", "-i", "0.01", "-w", "20", last])
        print("answered", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)


anyio.run(main, sys.argv[1], int(sys.argv[2]))
