"""A headless Chromium, driven by its own protocol: what a page asks for, says, shows."""

import asyncio
import base64
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable():
    """The browser of this machine; a test without one is skipped."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser: install one of {', '.join(NAMES)} to test pages")


class Page:
    """One tab, with what happened in it."""

    def __init__(self, socket, loop):
        self._socket, self._loop, self._number = socket, loop, 0
        self.requests, self.errors = [], []

    def __call__(self, method, **parameters):
        """The answer to a command; what else comes by is noted."""
        self._number += 1
        self._loop.run_until_complete(self._send({"id": self._number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._loop.run_until_complete(self._read()))
            if told.get("id") == self._number:
                assert "error" not in told, told
                return told["result"]
            self._note(told)

    def value(self, script):
        """What a script gives; promises are waited for."""
        answer = self("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script, seconds=120):
        """Until a script gives something true; returns it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if value := self.value(script):
                return value
            time.sleep(0.1)
        raise AssertionError(f"never true within {seconds} s: {script}; the page said {self.errors}")

    def mouse(self, kind, x, y, **more):
        """Moves or clicks at a place of the window."""
        self("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def picture(self, path):
        """Leaves a picture of what is seen."""
        pathlib.Path(path).write_bytes(base64.b64decode(self("Page.captureScreenshot", format="png")["data"]))

    async def _send(self, message):
        await self._socket.write_message(json.dumps(message))

    async def _read(self):
        return await self._socket.read_message()

    def _note(self, told):
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
    """Chromium with one tab, as long as the `with` lasts."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        flags = ["--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--window-size=1400,1000"]
        flags += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
        flags += [f"--user-data-dir={self._folder.name}", "about:blank"]
        self._log = open(pathlib.Path(self._folder.name, "log"), "w+")
        self._process = subprocess.Popen([executable(), *flags], stderr=self._log, stdout=subprocess.DEVNULL)
        self._loop = asyncio.new_event_loop()
        return self

    def open(self, path):
        """The page of a file, once its tab has begun to load it."""
        from tornado.httpclient import AsyncHTTPClient
        from tornado.websocket import websocket_connect

        port = self._port()

        async def connect():
            answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list", request_timeout=60)
            (tab,) = [each for each in json.loads(answer.body) if each["type"] == "page"]
            return await websocket_connect(tab["webSocketDebuggerUrl"], max_message_size=1 << 28)

        self._socket = self._loop.run_until_complete(connect())
        page = Page(self._socket, self._loop)
        for domain in ("Network", "Runtime", "Log", "Page"):
            page(f"{domain}.enable")
        page("Page.navigate", url=pathlib.Path(path).absolute().as_uri())
        return page

    async def _close(self):
        self._socket.close()

    def _port(self):
        path = pathlib.Path(self._folder.name, "log")
        for _ in range(600):
            if found := re.search(r"ws://127\.0\.0\.1:(\d+)/", path.read_text()):
                return int(found.group(1))
            time.sleep(0.1)
        raise AssertionError(f"the browser did not start: {path.read_text()[-500:]}")

    def __exit__(self, *_):
        if hasattr(self, "_socket"):
            self._loop.run_until_complete(self._close())
        self._process.terminate()
        self._process.wait(30)
        self._log.close()
        self._loop.close()
        self._folder.cleanup()
