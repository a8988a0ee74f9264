"""What runs inside a node of the testbed: the agent, the roles it plays and the probe traffic."""

INTERFACE = "eth0"
"""A node's interface on the bridge, in every runtime."""
