"""A headless Chromium, driven through its DevTools protocol over two pipes: no port and no driver."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--no-default-browser-check", "--mute-audio", "--hide-scrollbars"),
)
TIMEOUT = 60.0
_WIRED = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3]]
for wanted, end in zip((3, 4), ends):  # the protocol's descriptors: commands, answers
    os.dup2(end, wanted)
    os.close(end)
os.execv(sys.argv[3], sys.argv[3:])
"""


def chromium():
    """The program, or None where it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Page:
    """One page. What goes wrong on it, in its console or by an exception, is in ``errors``."""

    def __init__(self, to_browser, from_browser):
        self._out, self._in = to_browser, from_browser
        self._rest = b""
        self._number = 0
        self._session = None
        self._seen = []
        self.errors = []
        self.requests = []

    def attach(self):
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        """One command and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def wait_for(self, method):
        """Wait for an event that has not been waited for."""
        while method not in self._seen:
            self._read()
        self._seen.remove(method)

    def _read(self):
        deadline = time.monotonic() + TIMEOUT
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0, deadline - time.monotonic()))
            assert ready, "Chromium does not answer"
            octets = os.read(self._in, 1 << 16)
            assert octets, "Chromium ended"
            self._rest += octets
        one, self._rest = self._rest.split(b"\0", 1)
        message = json.loads(one)
        if "method" in message:
            self._note(message["method"], message["params"])
        return message

    def _note(self, method, said):
        self._seen.append(method)
        if method == "Runtime.exceptionThrown":
            self.errors.append(said["exceptionDetails"].get("exception", {}).get("description", str(said)))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.errors.append(said["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.errors.append(str(said["args"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])

    def close(self):
        """Ask the browser to end."""
        self._session = None
        with contextlib.suppress(AssertionError):
            self.send("Browser.close")

    def emulate(self, *, width=1280, height=900, scheme="light", touch=False):
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=touch,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def open(self, path):
        """Open a file and wait until its script has put the page together."""
        self._seen.clear()
        self.send("Page.navigate", url=Path(path).absolute().as_uri())
        self.wait_for("Page.loadEventFired")
        self.settle()

    def settle(self):
        """Wait until the page has drawn what it has to draw."""
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def value(self, expression):
        """What a JavaScript expression is; a promise is waited for."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self, selector):
        return self.value(f"document.querySelector({json.dumps(selector)}).innerText")

    def texts(self, selector):
        return self.value(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)")

    def press(self, key):
        """A key goes to where the focus is."""
        text = {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)
        self.settle()

    def mouse(self, kind, x, y, **more):
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start, end, **more):
        """Drag with the left button, in steps as a hand does."""
        self.mouse("mousePressed", *start, button="left", buttons=1, clickCount=1, **more)
        for step in (0.25, 0.5, 0.75, 1):
            x, y = (a + (b - a) * step for a, b in zip(start, end, strict=True))
            self.mouse("mouseMoved", x, y, button="left", buttons=1, **more)
        self.mouse("mouseReleased", *end, button="left", clickCount=1, **more)
        self.settle()

    def click(self, selector):
        """Bring an element into view and click in its middle."""
        box = self.box(selector)
        where = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, *where, button="left", clickCount=1)
        self.settle()

    def box(self, selector):
        """Where an element is, once it has been brought into view."""
        return self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const {x, y, width, height} = e.getBoundingClientRect(); return {x, y, width, height}; })()"
        )

    def screenshot(self, path, *, full=False):
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        Path(path).write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def headless_page(folder):
    """A page of a new browser, whose profile is in ``folder``; the browser is gone afterwards."""
    program = chromium()
    assert program, "Chromium is not installed: apt-get install chromium"
    commands, answers = os.pipe(), os.pipe()
    words = [
        program,
        *FLAGS,
        "--remote-debugging-pipe",
        f"--user-data-dir={folder / 'chromium'}",
        "about:blank",
    ]
    wired = [sys.executable, "-c", _WIRED, str(commands[0]), str(answers[1]), *words]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            wired, pass_fds=(commands[0], answers[1]), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    os.close(commands[0])
    os.close(answers[1])
    try:
        page = Page(commands[1], answers[0])
        page.attach()
        yield page
        page.close()
    finally:
        os.close(commands[1])
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(answers[0])
