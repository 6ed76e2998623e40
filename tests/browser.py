"""A headless Chromium for tests, told what to do by the DevTools protocol over a pair of pipes.

References:
    https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["CHROMIUM", "Browser", "Tab", "start_browser"]

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
"""Where the browser is; empty where there is none."""
_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)
# The browser reads its file 3 and writes its file 4; `pass_fds` keeps numbers as they are.
_TRAMPOLINE = (
    "import os, sys; r, w = map(int, sys.argv[1:3]); os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])"
)
_ANSWERED_WITHIN_S = 60.0


class Browser:
    """The running browser: commands go to it, and events come back."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._last = 0
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Have a command done, and give its result.

        Raises:
            RuntimeError: The browser refuses it, or does not answer.
        """
        self._last += 1
        command = {"id": self._last, "method": method, "params": parameters}
        os.write(self._commands, json.dumps(command | ({"sessionId": session} if session else {})).encode() + b"\0")
        until = time.monotonic() + _ANSWERED_WITHIN_S
        while (message := self._next(until)) is not None:
            if message.get("id") == self._last:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
        raise RuntimeError(f"the browser did not answer {method}")

    def gather(self, seconds: float) -> None:
        """Take the events of a while."""
        until = time.monotonic() + seconds
        while self._next(until) is not None:
            pass

    def _next(self, until: float) -> dict[str, Any] | None:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            part = os.read(self._answers, 1 << 16)
            if not part:
                raise RuntimeError("the browser has ended")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "id" not in message:
            self.events.append(message)
        return message

    def open(self, url: str, *, width: int = 1100, height: int = 900, dark: bool = False) -> Tab:
        """Open a page in a tab of its own, of this size, and wait until it is loaded."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        tab = Tab(self, target, self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.send(f"{domain}.enable")
        tab.resize(width, height)
        tab.scheme(dark=dark)
        tab.send("Page.navigate", url=url)
        return tab


class Tab:
    """One page, seen and handled as a person would."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser, self._target, self._session = browser, target, session

    def send(self, method: str, **parameters: Any) -> Any:
        """Have a command done in this tab."""
        return self._browser.send(method, self._session, **parameters)

    def close(self) -> None:
        """Close it."""
        self._browser.send("Target.closeTarget", targetId=self._target)

    def resize(self, width: int, height: int) -> None:
        """Give it another size, in CSS pixels; a narrow one is a phone's, with touch."""
        phone = width < 500
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)

    def scheme(self, *, dark: bool) -> None:
        """Want light or dark colours, and no motion, which takes time."""
        wanted = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        self.send("Emulation.setEmulatedMedia", features=features)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for.

        Raises:
            RuntimeError: It threw.
        """
        done = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{script}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def wait(self, script: str, *, within_s: float = 20.0) -> Any:
        """The value of an expression as soon as it is true; while it throws, it is not.

        Raises:
            AssertionError: It is not true in time; the text has what the page shows.
        """
        until = time.monotonic() + within_s
        while not (value := self.run(f"(() => {{ try {{ return {script}; }} catch {{ return false; }} }})()")):
            if time.monotonic() > until:
                raise AssertionError(f"never true: {script}\n{self.run('document.body.innerText')}\n{self.complaints}")
            time.sleep(0.02)
        return value

    def text(self, selector: str) -> str:
        """The text of the first element that fits."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).textContent"))

    def place(self, selector: str, x: float = 0.5, y: float = 0.5) -> tuple[float, float]:
        """Where a part of an element is in the window, once it is scrolled to: by default its middle."""
        box = self.run(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            f"return [b.left, b.top, b.width, b.height]; }})(document.querySelector({json.dumps(selector)}))"
        )
        return box[0] + x * box[2], box[1] + y * box[3]

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click an element."""
        self.drag(selector, [(x, y)])

    def drag(self, selector: str, points: list[tuple[float, float]]) -> None:
        """Press the mouse on an element, move it through points (shares of its width and height), and let go."""
        places = [self.place(selector, x, y) for x, y in points]
        for kind, (x, y) in [
            ("mousePressed", places[0]),
            *(("mouseMoved", place) for place in places[1:]),
            ("mouseReleased", places[-1]),
        ]:
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def touch(self, selector: str, points: list[tuple[float, float]]) -> None:
        """The same with a finger."""
        places = [self.place(selector, x, y) for x, y in points]
        for i, (x, y) in enumerate(places):
            kind = "touchMove" if i else "touchStart"
            self.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, *keys: str) -> None:
        """Press keys, by the names that events give them, or as text."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            known = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": codes.get(key, 0)}
            self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **known)
            self.send("Input.dispatchKeyEvent", type="keyUp", **known)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what it shows, or all that could be scrolled to, as a PNG."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    @property
    def complaints(self) -> list[str]:
        """What the browser said against the page: errors of scripts, and what its policy forbade."""
        self._browser.gather(0.05)
        own = [event for event in self._browser.events if event.get("sessionId") == self._session]
        said = [event["params"]["entry"] for event in own if event["method"] == "Log.entryAdded"]
        thrown = [event["params"] for event in own if event["method"] == "Runtime.exceptionThrown"]
        return [entry["text"] for entry in said if entry["level"] == "error"] + [str(one) for one in thrown]

    @property
    def requests(self) -> list[str]:
        """The addresses that it asked."""
        self._browser.gather(0.05)
        own = [event for event in self._browser.events if event.get("sessionId") == self._session]
        return [e["params"]["request"]["url"] for e in own if e["method"] == "Network.requestWillBeSent"]


@contextmanager
def start_browser() -> Iterator[Browser]:
    """A browser with a profile of its own, until the block ends."""
    down_r, down_w = os.pipe()
    up_r, up_w = os.pipe()
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (down_r, up_w)]
    with tempfile.TemporaryDirectory(prefix="thinned-browser-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [sys.executable, "-c", _TRAMPOLINE, *map(str, theirs), CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}"],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": profile},
        )
        for end in (down_r, up_w, *theirs):
            os.close(end)
        try:
            yield Browser(down_w, up_r)
        finally:
            os.close(down_w)
            os.close(up_r)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
