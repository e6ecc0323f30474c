"""Sessions of pytest that get a signal, and the processes that they consist of."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from bob_gauntlet.runtime.process_guard import kill_with_parent

ROOT = Path(__file__).parents[2]
MARKER = "BOB_TEST_SESSION"
"""An environment variable that every process of a session inherits, also one whose parent is gone."""


class SignalledSession:
    """A running session of pytest in a process group of its own; leaving its block kills what is left of it.

    It is killed with the process of the test, too.
    `before` is a command that starts it, such as `nohup`.
    """

    def __init__(self, folder: Path, *arguments: str, before: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.marker = secrets.token_hex(8)
        environment = {
            **os.environ, MARKER: self.marker, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "OMP_NUM_THREADS": "1", "COLUMNS": "160",
        }  # fmt: skip
        command = [*before, sys.executable, "-m", "pytest", "-pno:cacheprovider", "-pxdist", *arguments]
        with (folder / "printed.txt").open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=kill_with_parent,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    @property
    def text(self) -> str:
        """The text that the session has printed."""
        return (self.folder / "printed.txt").read_text()

    def send(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process that was started, or to its group as a terminal does."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def pids(self) -> list[int]:
        """Return the ids of the session's processes that run, from /proc."""
        marked = f"{MARKER}={self.marker}".encode()
        return [pid for pid in _all_pids() if marked in _read(f"/proc/{pid}/environ").split(b"\0") and _runs(pid)]

    def loaders(self) -> list[int]:
        """Return the ids of its loader processes: torch names them."""
        return [pid for pid in self.pids() if _read(f"/proc/{pid}/comm").startswith(b"pt_data_worker")]

    def wait_until(self, condition: Callable[[], bool], limit: float = 300) -> None:
        """Wait until a condition is true; fail after `limit` seconds with what runs and what was printed."""
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, f"{self.pids()} run after {limit} s\n{self.text}"
            time.sleep(0.02)

    def seconds_until_gone(self, limit: float = 60) -> float:
        """Wait until no process of the session runs, and return how long that took."""
        started = time.monotonic()
        self.wait_until(lambda: self.process.poll() is not None and not self.pids(), limit)
        return time.monotonic() - started


def _all_pids() -> Iterator[int]:
    """Yield the ids of all processes."""
    yield from (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _read(path: str) -> bytes:
    """Return a file of /proc; b"" where its process is gone."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _runs(pid: int) -> bool:
    """Tell whether a process runs: a zombie does not."""
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[:1] not in ([b"Z"], [b"X"], [])
