"""Processes that end with the process that started them, however that one ends.

Loader processes and workers are guarded so. The process of a user who calls the Python API is never one of them.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

POLL = 0.5
"""Seconds between two looks at a parent, on systems that do not kill a process with its parent."""

STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]  # fmt: skip
"""Signals with which people, terminals and batch systems end a session; Windows has no SIGHUP."""

_PR_SET_PDEATHSIG = 1


def kill_with_parent() -> bool:
    """Ask the system to kill this process when the thread that started it ends. Returns whether it will: Linux does.

    The caller has to look afterwards whether the parent is still there.
    """
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def exit_after(wait: Callable[[], object]) -> Callable[[], None]:
    """End this process when `wait` returns or raises, even while its main thread is inside native code.

    Returns a function that calls this off.
    """
    called_off = threading.Event()

    def watch() -> None:
        with suppress(Exception):
            wait()
        if not called_off.is_set():
            os._exit(1)

    threading.Thread(target=watch, name="bob-watchdog", daemon=True).start()
    return called_off.set


def wait_for_end_of(parent: int) -> None:
    """Return when `parent` is not, or no longer, the parent of this process."""
    while os.getppid() == parent:
        time.sleep(POLL)


def run_guarded(command: Sequence[str]) -> int:
    """Run a command and return its exit code; what would end this process ends the command, in the command's own way.

    Ctrl-C on a terminal reaches the command by itself, and a second SIGINT might mean that it must not wait. So SIGINT
    is passed on as SIGTERM. On Linux the command is killed with this process.
    """
    process = subprocess.Popen(command, preexec_fn=kill_with_parent if sys.platform == "linux" else None)
    may_handle = threading.current_thread() is threading.main_thread()
    handled = [n for n in STOP_SIGNALS if may_handle and signal.getsignal(n) is not signal.SIG_IGN]

    def pass_on(number: int, _frame: FrameType | None) -> None:
        process.send_signal(signal.SIGTERM if number == signal.SIGINT else number)

    before = {number: signal.signal(number, pass_on) for number in handled}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def guard_loader(parent: int, _worker_number: int) -> None:
    """Make this loader process end with `parent`, and silently where a signal goes to the whole session.

    torch's own loader processes look for their parent every five seconds while they wait for work. A signal that ends a
    loader process with an exit code would be an error in its parent, which gets the same signal and reports it.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, exit_silently)
    if not kill_with_parent():
        exit_after(lambda: wait_for_end_of(parent))
    if os.getppid() != parent:
        os._exit(0)


def exit_silently(_number: int, _frame: FrameType | None) -> None:
    """End this process at once, without an error."""
    os._exit(0)
