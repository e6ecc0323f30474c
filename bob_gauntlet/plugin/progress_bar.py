"""Progress of long work on a terminal: that of the session, and of each process setting, step, rate and time left.

Every process that measures keeps one small file up to date, about once a second. The process that owns the terminal
reads these files and draws them on one line.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import pytest

from bob_gauntlet.runtime.progress import Progress

EVERY = 1.0
"""Seconds between two drawings, and before the first one."""

OfSession = Callable[[bool], str]
"""Returns how far the session is, and with True also the settings that run."""

STALE = 30.0
"""Seconds after which a file that was not updated is no longer shown: its process has ended, or reports nothing."""


class ProgressFile(Progress):
    """Progress that is written to a file, for the process that draws it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.setting = ""
        self._written = 0.0

    @contextmanager
    def step(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Announce a step of `total` units; every call of the yielded function may rewrite the file."""
        started, done = time.time(), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self._write({"setting": self.setting, "step": what, "done": done, "total": total, "started": started})

        advance(0)
        try:
            yield advance
        finally:
            self.clear()

    def clear(self) -> None:
        """Delete the file: no step is running."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self._written = 0.0

    def _write(self, state: dict[str, object]) -> None:
        """Write the file, unless that was done less than EVERY seconds ago."""
        if time.time() - self._written < EVERY:
            return
        self._written = time.time()
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        with suppress(OSError):
            temporary.write_text(json.dumps(state), encoding="utf-8")
            temporary.replace(self.path)


class ProgressDisplay:
    """Draws the progress of all processes on one line, which is wiped before anything else is printed."""

    def __init__(
        self, folder: Path, stream: TextIO, width: Callable[[], int], of_session: OfSession = lambda _: ""
    ) -> None:
        self.folder, self.stream, self.width, self.of_session = folder, stream, width, of_session
        self._lock = threading.Lock()
        self._drawn = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="bob-progress", daemon=True)

    def start(self) -> None:
        """Start drawing, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop drawing and wipe the line."""
        self._stop.set()
        self.wipe()

    def wipe(self) -> bool:
        """Wipe the line. Returns whether there was one."""
        with self._lock:
            drawn, self._drawn = self._drawn, False
            if drawn:
                self.stream.write("\r\x1b[2K")
                self.stream.flush()
            return drawn

    def _loop(self) -> None:
        """Draw every EVERY seconds until stopped."""
        while not self._stop.wait(EVERY):
            line = status_line(self.folder, time.time(), self.of_session)
            with self._lock:
                if (line or self._drawn) and not self._stop.is_set():
                    self.stream.write("\r\x1b[2K" + line[: max(20, self.width() - 1)])
                    self.stream.flush()
                    self._drawn = bool(line)


class LineWiper:
    """Hooks that wipe the progress line before pytest prints a result."""

    def __init__(self, display: ProgressDisplay, reporter: Any) -> None:
        self.display, self.reporter = display, reporter

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self) -> None:
        """Wipe the line; pytest then prints the result on a line of its own."""
        if self.display.wipe():
            self.reporter.currentfspath = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Stop drawing."""
        self.display.stop()


def show_progress(config: pytest.Config, folder: Path, reporter: Any, of_session: OfSession) -> None:
    """Draw the progress of the session, and the progress files of `folder`, until the session ends.

    They are drawn on the terminal of pytest's terminal reporter.
    """
    display = ProgressDisplay(folder, reporter._tw._file, lambda: int(reporter._tw.fullwidth), of_session)
    config.pluginmanager.register(LineWiper(display, reporter), "bob-progress")
    display.start()


def status_line(folder: Path, now: float, of_session: OfSession = lambda _: "") -> str:
    """Return how far the session is, and what every process is doing, on one line.

    It is "" before the first setting starts. A process is left out until a step has lasted long enough.
    """
    parts = []
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            if now - path.stat().st_mtime < STALE:
                parts.append(describe(json.loads(path.read_text(encoding="utf-8")), now))
    return "  |  ".join(part for part in (of_session(not parts), *parts) if part)


def describe(state: dict[str, object], now: float) -> str:
    """Return one step in words.

    >>> describe({"setting": "knn@photos", "step": "features", "done": 50, "total": 200, "started": 0.0}, now=10.0)
    'knn@photos: features 50/200, 5.0/s, 30 s left'
    """
    done, total = int(str(state["done"])), int(str(state["total"]))
    seconds = now - float(str(state["started"]))
    head = f"{state['setting']}: {state['step']} {done}/{total}"
    if not done or seconds <= 0:
        return head
    rate = done / seconds
    return f"{head}, {rate:.1f}/s, {duration((total - done) / rate)} left"


def duration(seconds: float) -> str:
    """Return a duration as a person says it.

    >>> duration(7.6), duration(200), duration(7300)
    ('8 s', '3 min 20 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
