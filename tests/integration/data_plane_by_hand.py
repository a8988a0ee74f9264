"""Runs in a node: holds the data plane, takes orders as JSON lines, answers each with a line."""

import json
import sys
from ipaddress import IPv6Address, IPv6Network

from nodes import errors
from nodes.terminal.actions import Endpoint, Flow, Path, Rewriting
from nodes.terminal.data_plane import DataPlane
from nodes.terminal.path_mtu import PathMtus


def endpoint(said):
    return Endpoint(IPv6Address(said[0]), said[1])


def path(said):
    return Path(endpoint(said[0]), endpoint(said[1]))


def flow(said):
    return Flow(said[0], endpoint(said[1]), endpoint(said[2]))


def rewriting(said):
    return Rewriting(
        flow=flow(said["flow"]),
        out=path(said["out"]),
        accepted=tuple(map(path, said.get("accepted", []))),
        dropped=said.get("dropped", False),
        flow_label=said.get("flow_label"),
    )


def carry_out(plane, order):
    match order:
        case {"rewrite": said}:
            plane.rewrite([rewriting(one) for one in said])
        case {"take_up": said}:
            plane.take_up(map(rewriting, said))
        case {"choose": [flows, addresses]}:
            plane.choose_from(frozenset(map(flow, flows)), frozenset(map(IPv6Address, addresses)))
        case {"learn": prefixes}:
            plane.learn_from(map(IPv6Network, prefixes))
        case {"neighbours": prefixes}:
            plane.neighbours_in(map(IPv6Network, prefixes))
        case {"retire": address}:
            plane.retire(IPv6Address(address))
        case {"release": address}:
            plane.release(IPv6Address(address))
        case {"avoid": address}:
            plane.avoid(IPv6Address(address))
        case "learned":
            return [
                [one.protocol, *([str(end.address), end.port] for end in (one.local, one.remote))]
                for one in plane.learned()
            ]
        case "found":
            return plane.found
        case {"mtu": [local, remote, mtu]}:
            with PathMtus() as mtus:
                mtus.tell(path([[local, 0], [remote, 0]]), mtu)
        case "reroute":
            plane.reroute()
        case "remove":
            plane.remove()
    return None


with DataPlane() as plane:
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        try:
            print(json.dumps(carry_out(plane, json.loads(line))), flush=True)
        except errors.HopbedError as error:
            print(json.dumps({"error": str(error)}), flush=True)
