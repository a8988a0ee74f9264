"""The failure bundle: one file that a user attaches to a bug report."""
