"""Processes that end with the process that started them, however that one ends.

Loader processes and workers are guarded so. The process of a user who calls the Python API is never one of them.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
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
