"""Keeps plaintext at home, whatever becomes of the data plane.

The routes of a policy's inner prefix: one that leads into the data plane's device, and behind it one that
swallows what it gets. When the device is gone its route is gone with it, and plaintext still goes nowhere.
"""

from __future__ import annotations

import json
from ipaddress import IPv6Address, IPv6Network

import anyio

from nodes.ike.dataplane.base import DataPlaneError, Policy
from nodes.peer.inner import LOOPBACK
from nodes.peer.iproute import run_ip

LAST_METRIC = "4096"
"""Of the route that swallows: worse than the device's, better than none."""
FIRST_METRIC = "512"


class RouteGuard:
    """Routes each policy's inner prefix into ``device``, and behind it into nothing.

    Without a device it is the one that leads to the policy's remote end: the kernel's own ESP takes what is
    routed anywhere but to nothing.
    """

    def __init__(self, device: str | None = None) -> None:
        self._device = device
        self._held: dict[int, tuple[IPv6Network, str]] = {}

    async def hold(self, policy: Policy) -> None:
        """Guard a policy's prefix.

        Raises:
            DataPlaneError: a route could not be set.
        """
        prefix = policy.remote_ts
        source = await local_address_in(policy.local_ts)
        device = self._device or await _device_towards(policy.remote)
        into = ("dev", device, "metric", FIRST_METRIC, *(("src", str(source)) if source else ()))
        if (prefix, device) not in self._held.values():
            await _must_route("replace", prefix, "dev", LOOPBACK, "metric", LAST_METRIC)
            await _must_route("replace", prefix, *into)
        self._held[policy.reqid] = prefix, device

    async def release(self, reqid: int) -> None:
        """Guard a policy's prefix no longer, unless another policy has the same."""
        held = self._held.pop(reqid, None)
        if held is not None and held not in self._held.values():
            prefix, device = held
            for one, metric in ((device, FIRST_METRIC), (LOOPBACK, LAST_METRIC)):
                await run_ip("-6", "route", "delete", str(prefix), "dev", one, "metric", metric)

    async def release_all(self) -> None:
        """Guard nothing any more."""
        for reqid in list(self._held):
            await self.release(reqid)


async def local_address_in(prefix: IPv6Network) -> IPv6Address | None:
    """An address of this node within the prefix: the one that inner packets come from."""
    listed = await anyio.run_process(["ip", "-json", "-6", "address", "show", "scope", "global"], check=False)
    for interface in json.loads(listed.stdout or b"[]"):
        for entry in interface.get("addr_info", ()):
            if not entry:
                continue  # iproute2 leaves an empty object where the scope is another
            address = IPv6Address(entry["local"])
            if address in prefix:
                return address
    return None


async def _device_towards(address: IPv6Address) -> str:
    """The device by which packets leave for an address."""
    found = await anyio.run_process(["ip", "-json", "-6", "route", "get", str(address)], check=False)
    try:
        return str(json.loads(found.stdout)[0]["dev"])
    except (ValueError, LookupError):
        said = found.stderr.decode(errors="replace").strip()
        raise DataPlaneError(f"no route to the partner {address}: {said}") from None


async def _must_route(verb: str, prefix: IPv6Network, *rest: str) -> None:
    refusal = await run_ip("-6", "route", verb, str(prefix), *rest)
    if refusal is not None:
        raise DataPlaneError(f"ip -6 route {verb} {prefix} {' '.join(rest)}: {refusal}")
