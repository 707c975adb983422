"""A real browser, told what to do over its debugging pipe: no package but Chromium itself."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parts import report_missing


class Browser:
    """One page in headless Chromium. `events`: everything it reported."""

    def __init__(self, process: subprocess.Popen[bytes], send: int, receive: int) -> None:
        self._process, self._send, self._receive = process, send, receive
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command; its result. Fails as the browser says."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._send, data) :]
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            while b"\0" not in self._buffer:
                chunk = os.read(self._receive, 1 << 20)
                assert chunk, f"the browser ended during {method}"
                self._buffer += chunk
            text, _, self._buffer = self._buffer.partition(b"\0")
            found = json.loads(text)
            if found.get("id") == self._number:
                assert "error" not in found, (method, found["error"])
                result: dict[str, Any] = found["result"]
                return result
            self.events.append(found)
        raise AssertionError(f"no answer to {method}")

    def open(self, page: Path, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Show a file in a window of that size, and wait until its script has run and its plots are drawn."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.load(page)
        drawn = (
            "document.readyState === 'complete' && document.documentElement.dataset.ready === 'true' && "
            "[...document.querySelectorAll('.plot')].every((place) => place.querySelector('.main-svg'))"
        )
        self.wait(drawn)

    def load(self, page: Path) -> None:
        """Go to a file and wait until this page has loaded, with scripts on or off."""
        self.events.clear()
        loader = self.call("Page.navigate", url=page.as_uri())["loaderId"]
        deadline = time.monotonic() + 90
        while not any(_is_load_event(event, loader) for event in self.events):
            assert time.monotonic() < deadline, f"{page} did not load"
            time.sleep(0.02)
            self.call("Page.enable")  # events are read with the answer to a command

    def wait(self, condition: str) -> None:
        """Until a JavaScript expression is true."""
        deadline = time.monotonic() + 90
        while not self.ask(condition):
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.1)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """One key, as from a keyboard."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """What is seen, or the whole page, as PNG."""
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}
            found = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        else:
            found = self.call("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path: Path) -> None:
        """The page as printed."""
        found = self.call("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)
        path.write_bytes(base64.b64decode(found["data"]))

    def complaints(self) -> list[str]:
        """Console messages, errors and log entries."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(event["params"])[:600] for event in self.events if event.get("method") in kinds]

    def requests(self) -> list[str]:
        """What the page asked for, but itself and what it carries."""
        asked = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url[:200] for url in asked[1:] if not url.startswith(("data:", "blob:"))]


def find_chromium() -> str:
    """Path of the browser; without one the test is skipped, and fails in CI."""
    paths = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    return next((path for path in paths if path), None) or report_missing(
        "no chromium on PATH: this test needs a real browser (apt-get install chromium)"
    )


def _is_load_event(event: dict[str, Any], loader: str) -> bool:
    if event.get("method") != "Page.lifecycleEvent":
        return False
    return bool(event["params"]["name"] == "load" and event["params"]["loaderId"] == loader)


@contextlib.contextmanager
def browser(chromium: str, profile: Path) -> Iterator[Browser]:
    """A browser of its own, ended afterwards."""
    theirs_in, send = os.pipe()
    receive, theirs_out = os.pipe()
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    switches += ["--disable-component-update", "--disable-sync", f"--user-data-dir={profile}"]
    # Chromium reads commands from 3 and answers on 4.
    script = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", script, chromium, *switches, "--remote-debugging-pipe", "about:blank"],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(process, send, receive)
    finally:
        os.close(send)
        os.close(receive)
        process.terminate()
        process.wait(timeout=30)
