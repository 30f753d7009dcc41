"""Pages of the player in headless Chromium, read while they play, and memory of processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

__all__ = [
    "Listener",
    "chromium_path",
    "descendants",
    "resident_megabytes",
    "running_chromium",
    "soak_server",
]

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
STARTING_SECONDS = 120.0


def chromium_path() -> str | None:
    """Return where Chromium is, or None."""
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, found), None)


@contextmanager
def running_chromium() -> Iterator[Any]:
    """Run a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def soak_server(model: Path, sessions: int, title: str = "Soak") -> Iterator[tuple[str, int]]:
    """Run the server in a process of its own; give its address and process number."""
    script = Path(__file__).with_name("music_soak_server.py")
    command = [sys.executable, str(script), str(model), str(sessions), title]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the server did not start (exit code {process.wait()})")
        yield url, process.pid
    finally:
        process.terminate()
        try:
            process.wait(STARTING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.stdout is not None:
            process.stdout.close()


class Listener:
    """A page that plays.

    Parameters
    ----------
    browser : playwright Browser
    url : str
    name : str
        In the rows.
    width, height : int
        Of the window.
    scale : float
        Pixels of the screen a pixel of the page.
    """

    def __init__(
        self, browser: Any, url: str, name: str, width: int = 1000, height: int = 800, scale: float = 1.0
    ) -> None:
        self.name, self._url = name, url
        size = {"width": width, "height": height}
        self._context = browser.new_context(viewport=size, device_scale_factor=scale)
        self.page = self._context.new_page()
        self.page.set_default_timeout(1000 * STARTING_SECONDS)
        self.page.goto(url)
        self.page.click("#play")
        self._session: str | None = None

    def wait_for(self, *states: str) -> str:
        """Wait for one of some states of the page; return which."""
        self.page.wait_for_selector(", ".join(f'body[data-state="{state}"]' for state in states))
        return str(self.page.get_attribute("body", "data-state"))

    def row(self) -> dict[str, Any]:
        """Return what page and server say now."""
        shown = self.page.evaluate(
            """() => Object.fromEntries(["fill", "underruns", "proof", "clock", "reaction"].map(
                (id) => [id, document.getElementById(id).textContent]))"""
        )
        row = {
            "listener": self.name,
            "state": self.page.get_attribute("body", "data-state"),
            "played": _seconds(shown["clock"]),
            "fill": _number(shown["fill"]),
            "underruns": int(shown["underruns"]),
            "proven": _seconds(shown["proof"].removeprefix("✓ ")),
            "gap": shown["proof"] == "gap",
        }
        found = self._server_row()
        return row | {key: found[key] for key in SERVER_KEYS if key in found}

    def close(self) -> None:
        """Close the page."""
        self._context.close()

    def _server_row(self) -> dict[str, Any]:
        if self._session is None:
            names = self.page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
            known = [name for name in names if "/api/sessions/" in name]
            if not known:
                return {}
            self._session = known[0].split("/")[-1].split("?")[0]
        try:
            with build_opener(ProxyHandler({})).open(f"{self._url}api/sessions/{self._session}") as reply:
                return dict(json.load(reply))
        except OSError:
            return {}


#: What is kept of the server's statistics of a session.
SERVER_KEYS = ("blocks", "step_p50", "step_p95", "step_p99", "block_seconds", "nfe", "nfe_falls", "lead")


def _seconds(text: str) -> int:
    minutes, found, seconds = text.partition(":")
    return 60 * int(minutes) + int(seconds) if found else 0


def _number(text: str) -> float:
    return float(text.removesuffix(" s")) if text.endswith(" s") else float("nan")


def resident_megabytes(processes: list[int]) -> float:
    """Return the resident memory of processes together, in MiB; NaN where the system does not tell."""
    total = 0.0
    for process in processes:
        try:
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
        total += pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return total or float("nan")


def descendants(process: int) -> list[int]:
    """Return the processes that a process started, and those that they started."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        parents.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [process]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def pause(seconds: float, listeners: list[Listener]) -> None:
    """Let time pass while the pages are looked after."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        listeners[0].page.wait_for_timeout(1000 * min(left, 1.0))
