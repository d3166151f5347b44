"""A headless Chromium, driven by its own protocol: what a page asks for, says, shows, and how fast it is.

with browser.Browser() as chromium:
    tab = chromium.open(path)
    tab.wait("window.hpax && window.hpax.ready")
"""

import asyncio
import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""What a Chromium is called, the first that is there is taken."""

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-port=0",
    "--window-size=1400,1000",
    "--disable-gpu",
    "--disable-dev-shm-usage",
)
"""Of a browser without a screen or a graphics card: what is drawn is drawn by the processor."""


def executable() -> str | None:
    """The browser of this machine; None: there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab, with what happened in it."""

    def __init__(self, socket: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._socket, self._loop, self._number = socket, loop, 0
        self.requests: list[str] = []
        self.errors: list[Any] = []

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command of the protocol; what else comes by is noted.

        Raises:
            RuntimeError: the browser refuses it.
        """
        self._number += 1
        self._loop.run_until_complete(self._send({"id": self._number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._loop.run_until_complete(self._read()))
            if told.get("id") == self._number:
                if "error" in told:
                    raise RuntimeError(f"the browser refuses {method}: {told['error']}")
                return told["result"]
            self._note(told)

    def value(self, script: str) -> Any:
        """What a script gives; promises are waited for.

        Raises:
            RuntimeError: it throws.
        """
        answer = self("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script} throws {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 120) -> Any:
        """Until a script gives something true; returns it.

        Raises:
            TimeoutError: it never does.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if value := self.value(script):
                return value
            time.sleep(0.05)
        raise TimeoutError(f"never true within {seconds} s: {script}; the page said {self.errors}")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Moves or clicks at a place of the window, in CSS pixels."""
        self("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def picture(self, path: Path) -> None:
        """Leaves a picture of what is seen."""
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot", format="png")["data"]))

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.write_message(json.dumps(message))

    async def _read(self) -> str:
        return await self._socket.read_message()

    def _note(self, told: dict[str, Any]) -> None:
        kind, more = told.get("method"), told.get("params", {})
        if kind == "Network.requestWillBeSent":
            self.requests.append(more["request"]["url"])
        if kind == "Runtime.exceptionThrown":
            self.errors.append(more["exceptionDetails"])
        if kind == "Runtime.consoleAPICalled" and more["type"] in ("error", "assert"):
            self.errors.append([each.get("value") for each in more["args"]])
        if kind == "Log.entryAdded" and more["entry"]["level"] == "error":
            self.errors.append(more["entry"]["text"])


class Browser:
    """Chromium with one tab, as long as the `with` lasts.

    Raises:
        FileNotFoundError: there is none.
    """

    def __enter__(self) -> "Browser":
        path = executable()
        if path is None:
            raise FileNotFoundError(f"no browser here; install one of {', '.join(NAMES)}")
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._log = open(Path(self._folder.name, "log"), "w+")
        flags = [*FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"]
        self._process = subprocess.Popen([path, *flags], stderr=self._log, stdout=subprocess.DEVNULL)
        self._loop = asyncio.new_event_loop()
        return self

    def open(self, path: Path) -> Page:
        """The page of a file, once its tab has begun to load it."""
        from tornado.httpclient import AsyncHTTPClient
        from tornado.websocket import websocket_connect

        port = self._port()

        async def connect() -> Any:
            answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list", request_timeout=60)
            (tab,) = [each for each in json.loads(answer.body) if each["type"] == "page"]
            return await websocket_connect(tab["webSocketDebuggerUrl"], max_message_size=1 << 28)

        self._socket = self._loop.run_until_complete(connect())
        page = Page(self._socket, self._loop)
        for domain in ("Network", "Runtime", "Log", "Page"):
            page(f"{domain}.enable")
        page("Page.navigate", url=path.absolute().as_uri())
        return page

    async def _close(self) -> None:
        self._socket.close()

    def _port(self) -> int:
        path = Path(self._folder.name, "log")
        for _ in range(600):
            if found := re.search(r"ws://127\.0\.0\.1:(\d+)/", path.read_text()):
                return int(found.group(1))
            time.sleep(0.1)
        raise TimeoutError(f"the browser did not start: {path.read_text()[-500:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if hasattr(self, "_socket"):
            self._loop.run_until_complete(self._close())
        self._process.terminate()
        self._process.wait(30)
        self._log.close()
        self._loop.close()
        self._folder.cleanup()
