"""Workers of pytest-xdist end with their controller, also in the middle of a training.

A worker leaves Ctrl-C and the signals of its session to the controller, which stores what is finished and then closes
the workers' channels. So a worker prints nothing in between.
"""

import os
import signal
import threading
from functools import partial
from types import FrameType
from typing import Any

import pytest

from bob_gauntlet.runtime.process_guard import STOP_SIGNALS, exit_after, kill_with_parent, wait_for_end_of

GRACE = 2.0
"""Seconds between a worker's SIGTERM and its end. A controller that gets the same signal ends the worker earlier."""


def guard_worker(config: pytest.Config) -> None:
    """End this worker when its controller has ended or closed the channel between them, whatever is running.

    On Linux the system also kills it with its parent, which needs no running thread.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, _exit_soon if number == signal.SIGTERM else signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        # the controller blocks them while it starts workers
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    channel = _channel(config)
    wait = channel.waitclose if channel is not None else partial(wait_for_end_of, os.getppid())
    config.add_cleanup(exit_after(wait))
    kill_with_parent()


def _channel(config: pytest.Config) -> Any:
    """Return execnet's channel between controller and worker; None where this version of xdist keeps it elsewhere."""
    plugins = config.pluginmanager.get_plugins()
    channels = (getattr(plugin, "channel", None) for plugin in plugins)
    return next((channel for channel in channels if hasattr(channel, "waitclose")), None)


def _exit_soon(number: int, _frame: FrameType | None) -> None:
    """End this process after GRACE seconds, as the signal would have done at once."""
    timer = threading.Timer(GRACE, os._exit, [128 + number])
    timer.daemon = True
    timer.start()
