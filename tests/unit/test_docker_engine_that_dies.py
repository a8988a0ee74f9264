"""An engine that dies between two questions: one clear error, as if it had not been there."""

import http.server
import json
import socketserver
import threading

import pytest

from nodes import errors
from orchestrator.runtimes.docker import probe
from orchestrator.topology.plan import NodePlan


class Dying(http.server.BaseHTTPRequestHandler):
    """Says its version, and of anything else nothing."""

    def do_GET(self):
        if self.path.endswith("/version"):
            answer = json.dumps({"ApiVersion": "1.41", "Version": "20.10"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def address_string(self):
        return "a Unix socket"

    def log_message(self, *_):
        pass


@pytest.fixture
def dying_engine(tmp_path, monkeypatch):
    path = tmp_path / "docker.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), Dying) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("dying_engine")
def test_an_engine_that_dies_while_it_is_asked_for_the_image_is_a_machine_error():
    with pytest.raises(errors.MachineError, match="no Docker Engine answers"):
        probe.require_image(NodePlan.image)
