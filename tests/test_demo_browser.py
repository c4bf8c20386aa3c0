"""The web demo in a real browser, driven through Chromium's own debugging pipe; skipped where there is none."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import REFUSAL, ScriptedEngine

from anygen.media import Image

pytest.importorskip("gradio", reason="the demo needs gradio")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1000,900 --remote-debugging-pipe"
).split()


class Browser:
    """One page. Commands go through file descriptor 3 of the browser, answers and events come from its 4."""

    def __init__(self, profile: Path) -> None:
        inward, self.write = os.pipe()
        self.read, outward = os.pipe()
        assert CHROMIUM is not None
        line = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        # a program in between moves the pipes to where the browser looks for them
        moved = f"import os, sys; os.dup2({inward}, 3); os.dup2({outward}, 4); os.execv(sys.argv[1], sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", moved, *line], pass_fds=(inward, outward), stderr=subprocess.DEVNULL
        )
        os.close(inward)
        os.close(outward)
        self.buffer, self.number, self.asked, self.session = b"", 0, list[str](), ""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of one command; requests of the page that come by on the way are noted in `asked`."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.buffer:
                got = os.read(self.read, 1 << 16)
                assert got, "the browser has gone"
                self.buffer += got
            line, self.buffer = self.buffer.split(b"\0", 1)
            found = json.loads(line)
            if found.get("method") == "Network.requestWillBeSent":
                self.asked.append(found["params"]["request"]["url"])
            if found.get("id") == self.number:
                assert "error" not in found, found["error"]
                return found["result"]

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str, seconds: float = 60) -> Any:
        """Wait for an expression to be true."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < end, (
                f"not within {seconds} s: {script}\n{self.evaluate('document.body.innerText')}"
            )
            time.sleep(0.1)
        return value

    def type(self, text: str) -> None:
        """Type into what has the focus, and press Enter."""
        self.call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
            )

    def screenshot(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def close(self) -> None:
        """End the browser."""
        self.process.terminate()
        self.process.wait(30)
        os.close(self.write)
        os.close(self.read)


@pytest.fixture
def address() -> Iterator[str]:
    from anygen.demo import launch

    shades = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    drawn = Image(np.stack([shades, 90 + shades, 220 - shades], -1))
    engine = ScriptedEngine(["Here is a cat.", drawn, "And another.", drawn], [REFUSAL])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = launch(engine, port=port, wait=False)  # type: ignore[arg-type]
    yield f"http://127.0.0.1:{port}/"
    page.close(verbose=False)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    made = Browser(tmp_path / "profile")
    yield made
    made.close()


TEXT = "document.querySelector('#chat').innerText"
PICTURES = "[...document.querySelectorAll('#chat .bot img')].filter(i => i.naturalWidth == 64).length"


def test_a_visitor_talks_with_the_model(address: str, browser: Browser, tmp_path: Path) -> None:
    shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
    browser.call("Page.navigate", url=address)
    browser.until("document.querySelector('#box textarea') !== null")
    assert browser.evaluate("document.title") == "AnyGen"
    assert "Draw a cat on a meadow." in browser.evaluate("document.body.innerText")
    (shots / "demo-start.png").write_bytes(browser.screenshot())

    browser.evaluate("document.querySelector('#box textarea').focus()")
    browser.type("Draw a cat.")
    browser.until(f"{PICTURES} == 2")
    browser.until("document.querySelector('#status').innerText == 'seed 9, 0.5 s'")
    page = browser.evaluate(TEXT)
    assert page.index("Draw a cat.") < page.index("Here is a cat.") < page.index("And another.")
    (shots / "demo-answer.png").write_bytes(browser.screenshot())

    browser.evaluate("document.querySelector('#box textarea').focus()")
    browser.type("Too long.")
    browser.until(f"{TEXT}.includes('shorten it')")
    browser.until("document.querySelector('#box textarea').value == 'Too long.'")
    assert "Here is a cat." in browser.evaluate(TEXT)
    (shots / "demo-error.png").write_bytes(browser.screenshot())

    browser.evaluate("[...document.querySelectorAll('button')].find(b => b.innerText == 'New chat').click()")
    browser.until(f"!{TEXT}.includes('Here is a cat.')")
    assert not [url for url in browser.asked if not url.startswith((address, "data:", "blob:", "about:"))]
