"""What runs on the host: topology, runtimes, control client, capture, continuity, scenarios and the CLI."""
