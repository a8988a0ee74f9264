"""Keeps out what should have come sealed: cleartext between the inner prefixes of a policy.

What arrives unprotected although a policy protects it is discarded (RFC 4301, section 5.2). The kernel's own
ESP looks at its policies for that; for ESP in user space nftables does, before anything else sees a packet.
"""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from nodes.ike.dataplane.base import DataPlaneError, Policy

TABLE = "hopbed_cleartext"
_FIRST = -300
"""The chain's priority: before the tracking of connections, and before whatever else filters (``raw``)."""


class CleartextFilter:
    """Drops cleartext that policies protect; a filter that an earlier program left is replaced.

    Args:
        device: what comes in by it was sealed.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._policies: dict[int, Policy] = {}
        self._changing = anyio.Lock()

    async def hold(self, policy: Policy) -> None:
        """Drop what this policy protects and comes in clear.

        Raises:
            DataPlaneError: nftables does not, and nothing has changed.
        """
        async with self._changing:
            wanted = self._policies | {policy.reqid: policy}
            complaint = await _nft(ruleset(wanted, self._device))
            if complaint is not None:
                raise DataPlaneError(f"cleartext cannot be kept out with nftables: {complaint}")
            self._policies = wanted

    async def release(self, reqid: int) -> None:
        """Let in again what this policy protected."""
        async with self._changing:
            if self._policies.pop(reqid, None) is not None:
                await _nft(ruleset(self._policies, self._device))

    async def release_all(self) -> None:
        """Let everything in."""
        async with self._changing:
            self._policies.clear()
            await _nft(ruleset({}, self._device))


def ruleset(policies: Mapping[int, Policy], device: str) -> str:
    """The transaction, as ``nft`` reads it, after which exactly these policies are watched over."""
    rules = [  # quoted, since nft takes esp for the number of a protocol
        f'iifname != {{ "{device}", "lo" }} ip6 saddr {one.remote_ts} ip6 daddr {one.local_ts} drop'
        for one in policies.values()
    ]
    gone = f"table ip6 {TABLE}\ndelete table ip6 {TABLE}\n"
    if not rules:
        return gone
    chain = "\n".join((f"type filter hook prerouting priority {_FIRST};", *rules))
    return f"{gone}table ip6 {TABLE} {{\nchain inbound {{\n{chain}\n}}\n}}\n"


async def _nft(script: str) -> str | None:
    """Carry a transaction out; what ``nft`` complains about, or None."""
    try:
        done = await anyio.run_process(["nft", "-f", "-"], input=script.encode(), check=False)
    except FileNotFoundError:
        return "nft is missing. Install it: apt-get install nftables"
    if done.returncode == 0:
        return None
    return (done.stderr.decode(errors="replace").strip().splitlines() or ["it failed"])[0]
