"""Drives Debian's Chromium by its DevTools protocol, over a pipe: no port, no driver, no package.

`--remote-debugging-pipe` speaks JSON messages that end with a zero byte, on file descriptors 3 (to
the browser) and 4 (from it).
"""

from __future__ import annotations

import base64
import fcntl
import importlib.resources
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
WAIT_S = 30.0


class Browser:
    """One Chromium with one tab.

    Parameters
    ----------
    profile : Path
        An empty folder for its settings and cookies.
    """

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # Above 4, so that placing one at 3 or 4 does not close the other.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)]

        def place() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self._process = subprocess.Popen(
            [CHROMIUM, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}",
             "--window-size=1280,900", "about:blank"],
            pass_fds=(3, 4), preexec_fn=place, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (to_browser, from_browser, *ends):
            os.close(end)
        self._next, self._buffer, self._session = 0, b"", None
        self.console: list[str] = []
        """What the page logged as an error, and exceptions that nothing caught."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Give a command of the protocol and return its result."""
        self._next += 1
        number = self._next
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + 2 * WAIT_S
        while (answer := self._receive(until)).get("id") != number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return cast(dict[str, Any], answer["result"])

    def _receive(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("Chromium does not answer.")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("Chromium has ended.")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        return cast(dict[str, Any], json.loads(line))

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.console.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.console.append(f"{params['entry']['text']} ({params['entry'].get('url', '')})")
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.console.append(str([one.get("value") for one in params["args"]]))

    def open(self, url: str) -> None:
        """Go to an address."""
        self.send("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited if it is a promise."""
        found = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = WAIT_S) -> Any:
        """Return an expression's value as soon as it is true.

        Raises
        ------
        TimeoutError
            If it does not become true, with the text of the page.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                value = self.evaluate(expression)
            except RuntimeError:  # the page is changing
                value = None
            if value not in (None, False, "", 0):  # an element comes as {}
                return value
            time.sleep(0.1)
        text = self.evaluate("document.body.innerText.slice(0, 3000)")
        raise TimeoutError(f"{expression} did not come true in {seconds} s. The page:\n{text}")

    def wait_text(self, text: str, seconds: float = WAIT_S) -> None:
        """Wait until the page shows a text."""
        self.wait(f"document.body.innerText.includes({json.dumps(text)})", seconds)

    def key(self, key: str, code: int = 0, text: str = "") -> None:
        """Press and let go of a key, such as Tab (9), Enter (13, text \\r), ArrowDown (40)."""
        of = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send(
            "Input.dispatchKeyEvent", type="keyDown", **of, **({"text": text} if text else {})
        )
        self.send("Input.dispatchKeyEvent", type="keyUp", **of)

    def type(self, selector: str, text: str) -> None:
        """Focus a field, empty it and type into it."""
        self.evaluate(
            f"(() => {{ const f = document.querySelector({json.dumps(selector)});"
            " f.focus(); f.value = ''; f.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )
        self.send("Input.insertText", text=text)

    def click(self, selector: str, text: str = "") -> None:
        """Click, as a mouse does, the first visible element of a selector that holds a text."""
        place = self.wait(
            f"(() => {{ const e = [...document.querySelectorAll({json.dumps(selector)})].find(e =>"
            f" e.checkVisibility() && e.textContent.includes({json.dumps(text)}));"
            " if (!e || e.disabled) return null; e.scrollIntoView({block: 'center'});"
            " const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        self.mouse(*place)
        of = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type="mousePressed", **of)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", **of)

    def mouse(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def size(self, width: int, height: int = 900) -> None:
        """Set the window's size; narrower than Chromium's own windows may be."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def prefer(self, scheme: str, motion: str = "no-preference") -> None:
        """Set what the reader's system prefers: light or dark, and whether motion is reduced."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.send("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, file: Path, whole: bool = True) -> None:
        """Write what is seen, or the whole page, as PNG."""
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))

    def accessibility(self) -> list[Any]:
        """Return what axe-core finds wrong: rule and elements."""
        if not self.evaluate("Boolean(window.axe)"):
            self.evaluate(axe())
        return cast(
            list[Any],
            self.evaluate(
                "axe.run(document, {resultTypes: ['violations']}).then(r =>"
                " r.violations.map(v => [v.id, v.nodes.map(n => n.html)]))"
            ),
        )


def axe() -> str:
    """Return axe-core's source."""
    package = importlib.resources.files("axe_core_python")
    return (package / "axe.min.js").read_text(encoding="utf-8")


def eventually(holds: Callable[[], bool], seconds: float = WAIT_S) -> bool:
    """Return whether something comes to hold in time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
