"""What runs inside a node of the testbed: the agent, the roles it plays and the probe traffic."""
