"""A web server whose downloads last until it is told to let them end.

``python -m nodes.traffic.download_server --folder FOLDER --port PORT --seconds SECONDS``. It is Python's own
``http.server``, but that it paces: a download comes ever closer to its end and does not reach it, so that
data flow for as long as anybody likes. At the end of the standard input it sends what is left as fast as it
goes, and ends.
"""

from __future__ import annotations

import argparse
import http.server
import math
import shutil
import socket
import sys
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

SERVING = "Serving HTTP"
"""What it says once it listens."""
_TICK = 0.005
"""Seconds from one part of a download to the next."""
_STUCK = 60.0
"""Seconds after which a reader that takes nothing is given up."""


def sent_after(elapsed: float, *, octets: int, seconds: float) -> int:
    """How much of a download of ``octets`` is sent after so many seconds: never all of it.

    It begins at the rate that would take ``seconds``, and goes on at the rate that what is left would.
    """
    return min(int(octets * -math.expm1(-elapsed / seconds)), octets - 1)


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of a folder.

    Args:
        folder: what is served.
        port: on every address.
        seconds: see :func:`sent_after`.
    """

    address_family = socket.AF_INET6
    daemon_threads = False  # closing waits for the downloads

    def __init__(self, folder: Path, port: int, seconds: float) -> None:
        super().__init__(("::", port), Handler)
        self.folder = folder
        self.seconds = seconds
        self.released = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one GET with a file of the folder."""

    server: Server
    timeout = _STUCK

    def do_GET(self) -> None:
        """Send the file."""
        path = self.server.folder / Path(self.path).name
        if not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with path.open("rb") as file:
            octets = path.stat().st_size
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", str(octets))
            self.end_headers()
            self._pace(file, octets)
            shutil.copyfileobj(file, self.wfile)

    def _pace(self, file: BinaryIO, octets: int) -> None:
        start, sent = time.monotonic(), 0
        while not self.server.released.wait(_TICK):
            due = sent_after(time.monotonic() - start, octets=octets, seconds=self.server.seconds)
            self.wfile.write(file.read(due - sent))
            sent = due


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until the standard input ends, and then what is under way to its end."""
    parser = argparse.ArgumentParser(prog="python -m nodes.traffic.download_server")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args(argv)
    with Server(arguments.folder, arguments.port, arguments.seconds) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        print(SERVING, flush=True)
        sys.stdin.buffer.read()
        server.released.set()
        server.shutdown()
        serving.join()


if __name__ == "__main__":
    main()
