"""A headless Chromium, driven through its DevTools protocol: one page at a time, and what it complains about."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
REMEDY = "no Chromium is on this machine; install one (Debian: apt-get install chromium)"
STARTS_S, ANSWERS_S = 60.0, 120.0


def chromium() -> str | None:
    """Path of a Chromium; None if there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One window, for the length of a context.

    Attributes
    ----------
    complaints : errors of the console and uncaught exceptions since the last page was opened.
    loaded : addresses that were asked for since then.
    """

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.loaded: list[str] = []
        self._number = 0

    def __enter__(self) -> Browser:
        program = chromium()
        if program is None:
            raise FileNotFoundError(REMEDY)
        self._folder = tempfile.mkdtemp(prefix="browser")
        words = ["--headless=new", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={self._folder}"]
        words += ["--no-first-run", "--disable-extensions", "--disable-background-networking", "--hide-scrollbars"]
        words += ["--no-sandbox"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(
            [program, *words, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._socket = connect(self._address(), max_size=None, open_timeout=STARTS_S)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, page: Path, width: int, dark: bool = False) -> None:
        """Load a page of the disk in a window of so many pixels across, in one of the two colour schemes."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", media="", features=scheme)
        self.complaints, self.loaded = [], []
        self.ask("Page.navigate", url=page.resolve().as_uri())
        self._wait_for("Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """What an expression comes to in the page."""
        said = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise ValueError(f"{expression[:200]}: {said['exceptionDetails']}")
        return said["result"].get("value")

    def screenshot(self, into: Path, whole: bool = True) -> Path:
        """What is seen, as PNG."""
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        into.write_bytes(base64.b64decode(shot["data"]))
        return into

    def printed(self) -> bytes:
        """The page as PDF."""
        return base64.b64decode(self.ask("Page.printToPDF", printBackground=False)["data"])

    def print_media(self) -> None:
        """Show the page as it is printed, until the next one is opened."""
        self.ask("Emulation.setEmulatedMedia", media="print", features=[])

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command; what happens meanwhile is noted."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        for said in self._heard():
            if said.get("id") == self._number:
                if "error" in said:
                    raise ValueError(f"{method}: {said['error']}")
                return dict(said["result"])
        raise TimeoutError(method)

    def _wait_for(self, event: str) -> None:
        for said in self._heard():
            if said.get("method") == event:
                return
        raise TimeoutError(event)

    def _heard(self) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + ANSWERS_S
        while (left := end - time.monotonic()) > 0:
            said = json.loads(self._socket.recv(timeout=left))
            self._note(said.get("method", ""), said.get("params", {}))
            yield said

    def _note(self, method: str, said: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(said["exceptionDetails"].get("text")))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "assert", "warning"):
            self.complaints.append(" ".join(str(part.get("value")) for part in said["args"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(said["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.loaded.append(said["request"]["url"])

    def _address(self) -> str:
        """Where its one page is driven, once it has started."""
        told, end = Path(self._folder) / "DevToolsActivePort", time.monotonic() + STARTS_S
        while time.monotonic() < end:
            if told.exists() and (lines := told.read_text().splitlines()):
                with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=STARTS_S) as answer:
                    pages = [each for each in json.load(answer) if each["type"] == "page"]
                if pages:
                    return str(pages[0]["webSocketDebuggerUrl"])
            time.sleep(0.1)
        raise TimeoutError("Chromium did not start")
