"""Runs every probe side by side and judges what this machine can do."""

from __future__ import annotations

import msgspec

from orchestrator.doctor import docker_probes, machine_probes, probes
from orchestrator.doctor.finding import Finding, Need
from orchestrator.doctor.probes import Probe
from orchestrator.tasks import gather

PROBES: tuple[Probe, ...] = (
    machine_probes.system,
    probes.namespaces,
    *probes.tools,
    probes.peers,
    probes.kernel_esp,
    probes.tun,
    probes.nftables,
    probes.nft_queue,
    probes.xt_queue,
    probes.netem,
    docker_probes.engine,
    docker_probes.ipv6,
    docker_probes.cli,
    docker_probes.image,
    probes.raw_sockets,
    probes.mptcp,
    machine_probes.disk,
    machine_probes.leftovers,
)


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and which runtimes can carry the default testbed."""

    findings: list[Finding]
    namespaces: bool
    docker: bool


async def examine() -> Examination:
    """Try everything; leaves nothing behind."""
    found = await gather(probe() for probe in PROBES)

    def able(*needs: Need) -> bool:
        return all(finding.present for finding in found if finding.need in needs)

    return Examination(findings=found, namespaces=able(Need.NAMESPACES, Need.PEERS), docker=able(Need.DOCKER))
