"""``python -m nodes.traffic.send udp|tcp|mptcp``: the sending end of a probe flow, a program of a node.

It says ``ready`` before the first probe, over TCP once the connection stands, and ``done`` with the counts.
With ``--held`` it then waits to be told to begin.
"""

from __future__ import annotations

import socket
import time

from nodes import errors
from nodes.events import event
from nodes.program import DONE, READY, run, say
from nodes.traffic import mptcp
from nodes.traffic.addresses import socket_address
from nodes.traffic.arguments import sender_arguments
from nodes.traffic.flow_log import FlowLog, LogKind
from nodes.traffic.orders import OrderReader
from nodes.traffic.probe import ProbeFormat
from nodes.traffic.schedule import Schedule
from nodes.traffic.sender import Outlet, send_probes
from nodes.traffic.udp_sender import UdpOutlet


def main() -> None:
    """Send a flow as the command line says."""
    arguments = sender_arguments()
    destination = socket_address(arguments.destination, arguments.port)
    source = socket_address(arguments.source, 0) if arguments.source else None
    orders = OrderReader()
    interval_ns = 1_000_000_000 // arguments.rate
    with FlowLog(arguments.log, LogKind.SENT, flow_id=arguments.flow_id, interval_ns=interval_ns) as log:
        outlet: Outlet
        try:
            if arguments.transport == "udp":
                outlet = UdpOutlet(destination, source)
            else:
                from nodes.traffic.tcp_sender import TcpOutlet, connect

                stream = connect(
                    destination,
                    source,
                    timeout=arguments.connect_timeout,
                    user_timeout=arguments.user_timeout,
                    orders=orders,
                    protocol=mptcp.IPPROTO_MPTCP if arguments.transport == "mptcp" else socket.IPPROTO_TCP,
                    congestion=arguments.congestion,
                )
                outlet = TcpOutlet(stream, arguments.size)
        except OSError as error:
            raise errors.FlowError(f"cannot send from {arguments.source}: {error.strerror}") from None
        say(event(READY))
        if arguments.held:
            orders.wait_to_begin()
        start_ns = time.monotonic_ns()
        counts = send_probes(
            outlet,
            probes=ProbeFormat(arguments.flow_id, arguments.size),
            schedule=Schedule(arguments.rate, start_ns),
            log=log,
            orders=orders,
            count=0 if orders.ended else arguments.count,
            until_ns=start_ns + round(arguments.duration * 1e9) if arguments.duration else None,
        )
    say(event(DONE, **counts, cpu_ms=time.process_time_ns() / 1e6))


if __name__ == "__main__":
    run(main)
