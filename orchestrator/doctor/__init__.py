"""What this machine can do, found out by trying, and the command that mends what it cannot."""
