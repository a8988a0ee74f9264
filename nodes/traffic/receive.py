"""``python -m nodes.traffic.receive TRANSPORT``: the receiving end of a probe flow, a program of a node.

It says ``ready`` with the ``port`` that it receives on, and ``done`` with the counts.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from nodes import errors
from nodes.events import event
from nodes.program import DONE, READY, run, say
from nodes.traffic import mptcp
from nodes.traffic.addresses import Address, socket_address
from nodes.traffic.arguments import receiver_arguments
from nodes.traffic.flow_log import FlowLog, LogKind
from nodes.traffic.orders import OrderReader
from nodes.traffic.probe import ProbeFormat
from nodes.traffic.receiver import Arrivals, receive_probes
from nodes.traffic.udp_receiver import UdpInlet

if TYPE_CHECKING:
    from nodes.traffic.receiver import Inlet


def _inlet(transport: str, address: Address, size: int, arrivals: Arrivals) -> Inlet:
    """Only what this transport needs is imported: a receiver starts for every flow of a run."""
    if transport == "udp":
        return UdpInlet(address, size, arrivals)
    if transport == "quic":
        from nodes.traffic.quic_receiver import QuicInlet

        return QuicInlet(address, size, arrivals)
    from nodes.traffic.tcp_receiver import TcpInlet

    protocol = mptcp.IPPROTO_MPTCP if transport == "mptcp" else socket.IPPROTO_TCP
    return TcpInlet(address, size, arrivals, protocol)


def main() -> None:
    """Receive a flow as the command line says."""
    arguments = receiver_arguments()
    address = socket_address(arguments.address, arguments.port)
    arrivals = Arrivals(ProbeFormat(arguments.flow_id, arguments.size))
    with FlowLog(arguments.log, LogKind.RECEIVED, flow_id=arguments.flow_id) as log:
        try:
            inlet = _inlet(arguments.transport, address, arguments.size, arrivals)
        except OSError as error:
            where = f"[{arguments.address}]:{arguments.port}"
            raise errors.FlowError(f"cannot receive on {where}: {error.strerror}") from None
        say(event(READY, port=inlet.port))
        counts = receive_probes(
            inlet, arrivals=arrivals, log=log, orders=OrderReader(), quiet=arguments.quiet
        )
    say(event(DONE, **counts, cpu_ms=time.process_time_ns() / 1e6))


if __name__ == "__main__":
    run(main)
