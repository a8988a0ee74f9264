"""Becomes a ``docker exec`` that its command in the container does not outlive.

``python leash.py RUN_DIR CLIENT...`` makes a FIFO in the node's run directory, opens it, names it in
HOPBED_LEASH, and becomes the client, which passes the name on (``docker exec --env HOPBED_LEASH``) and holds
the FIFO open as long as it lives, whatever ends it. :mod:`nodes.tether` in the container waits for that. It
is run as a file, with the standard library alone, for it stands before every command in a node.
"""

from __future__ import annotations

import os
import secrets
import sys

LEASH = "HOPBED_LEASH"
"""As in :mod:`nodes.tether`."""


def main() -> None:
    """Take the leash and become the client."""
    run_dir, *client = sys.argv[1:]
    name = f".leash-{secrets.token_hex(8)}"
    os.mkfifo(f"{run_dir}/{name}", 0o600)
    held = os.open(
        f"{run_dir}/{name}", os.O_RDWR
    )  # both ends: an opening for writing alone waits for a reader
    os.set_inheritable(held, True)
    os.environ[LEASH] = name
    os.execvp(client[0], client)


if __name__ == "__main__":
    main()
