"""A headless Chromium, driven over its DevTools pipe: two file descriptors, no port, no library.

Messages are JSON objects that end in a zero byte; see https://chromedevtools.github.io.
"""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DEADLINE_SEC: Final = 60.0
_READ, _WRITE = 3, 4
"""What the browser reads commands from and writes answers to, with --remote-debugging-pipe."""


def find_chromium() -> str | None:
    """Path of the first browser of NAMES that is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One browser process with one page; commands wait for their answers, up to a deadline.

    Attributes:
        events: (method, parameters) of all that the browser told unasked.
    """

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._rest = b""
        self._last = 0
        self._session: str | None = None
        self.events: list[tuple[str, dict[str, Any]]] = []

    def open_page(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The browser's answer to a DevTools command."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + DEADLINE_SEC
        while (answer := self._receive(deadline)).get("id") != self._last:
            self.events.append((answer["method"], answer["params"]))
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"the browser said nothing for {DEADLINE_SEC} s"
            chunk = os.read(self._read, 1 << 20)
            assert chunk, "the browser has ended"
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def show(self, url: str, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Loads a page in a window of this size, and waits until it and its pictures are there."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.value(
            "new Promise(done => document.readyState === 'complete' ? done(1)"
            " : addEventListener('load', () => done(1)))"
        )

    def value(self, expression: str) -> Any:
        """What a JavaScript expression (or the promise it makes) comes to in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """A real mouse click in the middle of an element."""
        centre = f"""(() => {{
            const one = document.querySelector({json.dumps(selector)});
            one.scrollIntoView({{block: "nearest"}});
            const box = one.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
        x, y = self.value(centre)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def screenshot(self) -> npt.NDArray[np.uint8]:
        """uint8 [height, width, 3] of the whole page, a pixel for each CSS pixel."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB"))


@contextmanager
def chromium(path: str, profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own; its whole process group has ended afterwards."""
    theirs_in, ours_out = _pipe()
    ours_in, theirs_out = _pipe()
    arguments = [
        path, "--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}",
        "--no-sandbox",  # it runs as root in containers, and shows nothing but our own page
        "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
        "--disable-background-networking", "--disable-breakpad",
    ]  # fmt: skip
    log = profile.with_suffix(".log")
    pid = os.posix_spawn(
        path,
        arguments,
        dict(os.environ),
        file_actions=[
            (os.POSIX_SPAWN_DUP2, theirs_in, _READ),
            (os.POSIX_SPAWN_DUP2, theirs_out, _WRITE),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setpgroup=0,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        browser = Browser(ours_in, ours_out)
        browser.open_page()
        yield browser
    finally:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ours_in)
        os.close(ours_out)


def _pipe() -> tuple[int, int]:
    """Descriptors above those the browser gets, which would otherwise be overwritten."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]
