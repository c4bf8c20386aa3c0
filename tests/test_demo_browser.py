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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import REFUSAL, ScriptedEngine

from anygen.media import Audio, Image, Made, Text, Video
from anygen.reply import Part, Reply

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


@contextmanager
def served(*answers: list[Any]) -> Iterator[str]:
    """The address of a page that answers so."""
    from anygen.demo import launch

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = launch(ScriptedEngine(*answers), port=port, wait=False)  # type: ignore[arg-type]
    yield f"http://127.0.0.1:{port}/"
    page.close(verbose=False)


@pytest.fixture
def address() -> Iterator[str]:
    shades = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    drawn = Image(np.stack([shades, 90 + shades, 220 - shades], -1))
    with served(["Here is a cat.", drawn, "And another.", drawn], [REFUSAL]) as where:
        yield where


def ball() -> Video:
    """A red ball that crosses a meadow and rings twice."""
    frames = np.empty((16, 64, 64, 3), np.uint8)
    frames[:], frames[:, 44:] = (120, 180, 230), (90, 160, 80)
    y, x = np.mgrid[:64, :64]
    for index in range(16):
        high = 36 - 20 * abs(np.sin(index / 15 * np.pi * 2))
        frames[index][(x - 4 - 3.6 * index) ** 2 + (y - high) ** 2 < 64] = (230, 60, 50)
    seconds = np.arange(32_000) / 16_000
    return Video(frames, fps=8, audio=Audio(0.6 * np.sin(2765 * seconds) * np.exp(-4 * (seconds % 1)), 16_000))


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


FILM = "document.querySelector('video')"


def played(browser: Browser) -> dict[str, Any]:
    """Play the film of a page for a moment: its size, length, where it is then, and whether its middle is a film's."""
    browser.until(f"{FILM} !== null && {FILM}.readyState >= 2")
    return browser.evaluate(
        f"""(async () => {{
            const film = {FILM}, canvas = document.createElement('canvas'), pen = canvas.getContext('2d')
            film.muted = true
            await film.play()
            await new Promise(done => film.requestVideoFrameCallback(done))
            await new Promise(done => setTimeout(done, 400))
            pen.drawImage(film, 0, 0)
            return {{size: [film.videoWidth, film.videoHeight], seconds: film.duration, at: film.currentTime,
                     sky: [...pen.getImageData(2, 2, 1, 1).data], heard: film.webkitAudioDecodedByteCount,
                     controls: film.controls}}
        }})()"""
    )


def test_a_film_plays_in_the_demo(browser: Browser, tmp_path: Path) -> None:
    shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
    with served(["A ball jumps over the meadow.", ball()]) as address:
        browser.call("Page.navigate", url=address)
        browser.until("document.querySelector('#box textarea') !== null")
        browser.evaluate("document.querySelector('#box textarea').focus()")
        browser.type("Film a ball.")
        shown = played(browser)
        (shots / "demo-film.png").write_bytes(browser.screenshot())
    assert shown["size"] == [64, 64] and 0 < shown["at"] and shown["heard"] > 0
    assert shown["seconds"] == pytest.approx(2, abs=0.1)
    assert not [url for url in browser.asked if not url.startswith((address, "data:", "blob:", "about:"))]


def test_an_answer_with_a_film_plays_without_a_network(browser: Browser, tmp_path: Path) -> None:
    shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
    values: list[Made] = [Text("A ball jumps over the meadow."), ball(), ball().with_audio(None)]
    parts = tuple(Part(index=index, type=value.type, value=value) for index, value in enumerate(values, 1))
    place = Reply(parts=parts, model="m", seed=9).save(tmp_path / "answer")
    browser.call("Page.navigate", url=(place / "answer.html").as_uri())
    shown = played(browser)
    (shots / "answer-film.png").write_bytes(browser.screenshot())
    assert shown["size"] == [64, 64] and 0 < shown["at"] and shown["heard"] > 0 and shown["controls"]
    assert shown["seconds"] == pytest.approx(2, abs=0.1)
    np.testing.assert_allclose(shown["sky"][:3], (120, 180, 230), atol=6)
    silent = "document.querySelectorAll('video')[1]"  # plays by itself
    browser.until(f"{silent}.currentTime > 0 && !{silent}.paused && {silent}.loop")
    assert all(url.startswith(("file:", "data:")) for url in browser.asked)
