"""Runs in a plain host: a partner of B's that is no friend, with the real core and packets of any source.

``mallory.py B SECRET MINE OTHER WHAT PORT THEIRS``: has a UDP flow from MINE to PORT of B, hops with it, but

``victim``    the second address that it seals is OTHER, somebody else's, and it sends from there
``unsealed``  it sends its backup requests from OTHER, which is its own, but not the address that it sealed
``listed``    the flow that it lists is not its own: it is from port THEIRS of A

It prints what became of its hop, as JSON.
"""

import json
import os
import random
import select
import socket
import sys
import time
from ipaddress import IPv6Address

from nodes.terminal.actions import (
    UDP,
    AddAddress,
    Carriage,
    Endpoint,
    Flow,
    RefreshFlows,
    Report,
    Send,
    Service,
)
from nodes.terminal.carriage import Messages
from nodes.terminal.core import Terminal
from nodes.terminal.data_plane import DataPlane
from nodes.terminal.message import Kind, context_of
from nodes.terminal.plan import plan_of

partner, secret, mine, other, what, port, theirs = sys.argv[1:]
partner, mine, other = (IPv6Address(one) for one in (partner, mine, other))

client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
client.bind((str(mine), 0))
client.connect((str(partner), int(port)))
client.settimeout(3)
client.send(b"before")
client.recv(100)

local_port = int(theirs) if what == "listed" else client.getsockname()[1]
flow = Flow(UDP, Endpoint(mine, local_port), Endpoint(partner, int(port)))
core = Terminal(octets=os.urandom, random=random.Random())
core.pair("b", secret.encode(), [partner])
second = other if what == "victim" else IPv6Address(int(mine) + 1)
reports = []


def carry_out(actions, messages):
    for action in actions:
        match action:
            case AddAddress():
                core._first.hops[0].second = second
                carry_out(
                    core.address_added(second, now(), preferred=None, valid=None, advertised=False), messages
                )
            case RefreshFlows():
                carry_out(core.flows_changed([], [], now()), messages)
            case Send():
                if what == "unsealed" and context_of(action.message)[0] == Kind.BACKUP_REQUEST:
                    action = Send(
                        source=other,
                        destination=action.destination,
                        message=action.message,
                        carriage=Carriage.OPTION,
                    )
                messages.send(action)
            case Report(kind=kind, data=data):
                reports.append([kind, data])


def now():
    return time.monotonic_ns()


with DataPlane(), Messages() as messages:
    core.flows_changed([Service(flow=flow)], [], now())
    _, actions = core.hop(now(), plan_of({"first": str(mine)}))
    carry_out(actions, messages)
    until = time.monotonic() + 4
    while time.monotonic() < until and not any(kind == "hop.closed" for kind, _ in reports):
        wake = core.next_wake()
        wait = 0.1 if wake is None else min(max(wake - now(), 0) / 1e9, 0.1)
        ready, _, _ = select.select(messages.readable, [], [], wait)
        for one in ready:
            for received in messages.received(one):
                carry_out(
                    core.receive(
                        received.source, received.destination, received.message, received.carriage, now()
                    ),
                    messages,
                )
        carry_out(core.tick(now()), messages)
        client.send(b"during")
        client.recv(100)  # B answers where it knows us to be
client.send(b"after")
assert client.recv(100)
print(json.dumps(reports))
