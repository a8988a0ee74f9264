"""The topology: the subset of a compose file that is a testbed, checked, with each run's own addresses."""
