"""The role ``ike`` as the agent plays it: an IKEv1 endpoint, its data plane chosen by trying."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from nodes.control.methods import Handler
from nodes.ike.abnormality import AbnormalityGate
from nodes.ike.abnormality_methods import AbnormalityMethods
from nodes.ike.crypto.groups import Group, key_exchange
from nodes.ike.dataplane.choice import open_dataplane
from nodes.ike.driver import driving
from nodes.ike.endpoint import Endpoint
from nodes.ike.ike_socket import ike_socket
from nodes.ike.key_log import KEY_LOG, KeyLog
from nodes.ike.methods import IkeMethods
from nodes.ike.settings import IkeOptions, ike_options
from nodes.peer import inner
from nodes.role import NodeContext


@asynccontextmanager
async def play(context: NodeContext) -> AsyncIterator[Mapping[str, Handler]]:
    """Play the role.

    Raises:
        UsageError: an option is unknown or out of range.
        MachineError: nothing carries ESP here, or port 500 is taken.
        DataPlaneError: the data plane did not start, or, on leaving, died meanwhile.
    """
    options = ike_options(context.options)
    await inner.flush_remains()
    if options.inner_address is not None:
        interface, _why = await inner.inner_interface()
        await inner.add_inner_address(options.inner_address, interface)
    _warm_up()
    gate = AbnormalityGate(options.abnormality)
    endpoint = Endpoint(options, gate)
    gate.attach(endpoint.context, endpoint.phase1, endpoint.has_pairs)
    with ike_socket() as sock:
        async with (
            open_dataplane(options.dataplane) as plane,
            driving(endpoint, plane, sock, context.publish, _key_log(context, options)) as driver,
        ):
            context.publish("role.started", role="ike", dataplane=plane.name, reason=plane.reason)
            abnormality = AbnormalityMethods(gate, driver)
            yield {**IkeMethods(driver, abnormality).handlers(), **abnormality.handlers()}


def _warm_up() -> None:
    """Have the cryptographic library load what it loads at its first use: that takes 0.4 s here."""
    for group in Group:
        key_exchange(group).secret(key_exchange(group).public)


def _key_log(context: NodeContext, options: IkeOptions) -> KeyLog | None:
    if not options.keys:
        return None
    path = context.log_dir / KEY_LOG
    path.touch(mode=0o600)
    path.chmod(0o600)
    if os.geteuid() == 0 and context.owner != 0:
        os.chown(path, context.owner, -1)
    return KeyLog(path)
