"""A headless Chromium that opens one page, for tests and pictures of the documentation.

By its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/), over aiohttp: what
is waited for is asked of the page itself.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

START_SECONDS = 120.0  # the first start on a busy machine takes half a minute
ANSWER_SECONDS = 60.0
NAMES = ("chromium", "chromium-browser", "google-chrome")

# Nothing that is not asked for, and nothing but the page speaks to the network.
OPTIONS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
)


def find_chromium() -> str | None:
    """The program; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """One browser with one page; it ends with the block."""

    def __init__(self, program: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="s3zipfs-chromium-")
        options = [*OPTIONS, f"--user-data-dir={self._folder.name}"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # it refuses to start as root otherwise
        self._process = subprocess.Popen(
            [program, *options, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._runner = asyncio.Runner()
        self._numbers = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    def __enter__(self) -> Self:
        try:
            self._runner.run(self._connect())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runner.run(self._disconnect())
        self._runner.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._folder.name, ignore_errors=True)  # helpers may still write to it
        self._folder.cleanup()

    def open(self, url: str) -> None:
        """Go to a page; it may not be there yet."""
        self.send("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript in the page.

        Raises:
            RuntimeError: it threw.
        """
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_until(self, script: str, *, seconds: float) -> None:
        """Ask again and again until an expression is true.

        Raises:
            TimeoutError: it is not; says what the page shows.
        """
        give_up = time.monotonic() + seconds
        while not self.evaluate(script):
            if time.monotonic() > give_up:
                shown = self.evaluate("document.body ? document.body.innerText : ''")
                raise TimeoutError(f"not within {seconds:g} s: {script}\n{shown}")
            time.sleep(0.05)

    def screenshot(self, path: Path) -> None:
        """The whole page, as PNG."""
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        return self._runner.run(self._send(method, parameters))

    async def _connect(self) -> None:
        told = Path(self._folder.name) / "DevToolsActivePort"
        async with asyncio.timeout(START_SECONDS):
            while not told.exists() or not told.read_text().strip():
                if self._process.poll() is not None:
                    raise RuntimeError(f"chromium ended with {self._process.returncode}")
                await asyncio.sleep(0.05)
            port = int(told.read_text().split()[0])
            self._session = aiohttp.ClientSession()
            while (page := await self._page(port)) is None:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
            self._socket = await self._session.ws_connect(page, max_msg_size=0)

    async def _page(self, port: int) -> str | None:
        assert self._session is not None
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            targets = await answer.json()
        return next((t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page"), None)

    async def _disconnect(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._session is not None:
            await self._session.close()

    async def _send(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        assert self._socket is not None
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                answer = await self._socket.receive_json()
                if answer.get("id") != number:
                    continue  # an event, or the answer to who has given up
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
