"""Where things stand inside a run's own tmpfs on /run, seen from the supervisor and from outside.

::

    /run/hopbed/log              the log folder of the bridge's place
    /run/hopbed-run/plan.json    the plan, for whoever finds the run in the process table
    /run/hopbed-run/nodes.json   {node: process id of its process 1, in the run's PID namespace}
    /run/hopbed-run/detached     there once the run may outlive whoever started it
    /run/hopbed-run/hosts        what the nodes see as /etc/hosts
    /run/hopbed-run/<node>/      the node's run directory: /run/hopbed inside the node

A process outside reaches these through ``/proc/<supervisor>/root``.
"""

from __future__ import annotations

from pathlib import Path

RUN = Path("/run")
RUN_ROOT = RUN / "hopbed-run"
PLAN = RUN_ROOT / "plan.json"
NODES = RUN_ROOT / "nodes.json"
DETACHED = RUN_ROOT / "detached"
HOSTS = RUN_ROOT / "hosts"

BRIDGE_INTERFACE = "bridge"
DETACH = b"detach\n"
"""What the supervisor is told on its standard input to let its run outlive whoever started it."""
GRACE = 3.0
"""Seconds that the nodes have to end by themselves after SIGTERM, so that logs are whole."""

MARK = "hopbed-run="
"""A supervisor's command line holds this and the run's id: the process table is the register of runs."""
