"""Interrupted sessions: Ctrl-C, SIGTERM and SIGHUP keep what is finished, print the summary and leave no process.

Batch systems, `timeout` and CI runners send SIGTERM, and a terminal that is closed sends SIGHUP. Python's own reaction
to both is to die on the spot, and the workers would train on.
"""

import errno
import os
import shlex
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty
from types import FrameType
from typing import Any

import pytest

from bob_gauntlet.plugin.node_ids import parse_node_id
from bob_gauntlet.plugin.roles import is_worker
from bob_gauntlet.plugin.worker_guard import guard_worker
from bob_gauntlet.runtime.process_guard import STOP_SIGNALS, exit_silently

REPEATED = 0.3
"""Seconds within which a second signal counts as the same: `timeout` sends one to the process and one to its group."""

PATIENCE = 2.0
"""Seconds that workers have to end before they are killed."""


def watch_signals(config: pytest.Config) -> None:
    """Make a worker end with its controller; elsewhere make signals end the session as Ctrl-C does."""
    if is_worker(config):
        guard_worker(config)
        return
    interruptions = Interruptions(config)
    interruptions.install()
    config.pluginmanager.register(interruptions, "bob-interruptions")


class Interruptions:
    """Hooks of the process that the user started, and its handlers of the signals that end a session."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        # settings that were collected, for all backbones
        self.settings = 0
        # "Ctrl-C" or the signal's name; "" while the session runs undisturbed
        self.cause = ""
        self._received_at = 0.0
        self._is_deferred = False
        self._starts_workers = False
        self._is_ending = False
        self._has_printed = False
        self._pid = os.getpid()
        self._default_handlers: dict[int, Any] = {}
        # the user's standard error, which pytest replaces while a test runs
        self._stderr = -1

    def install(self) -> None:
        """Handle the signals until the session ends; one that somebody else handles or ignores is left alone."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in STOP_SIGNALS:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            if signal.getsignal(number) == default:
                self._default_handlers[number] = default
                signal.signal(number, self._receive)
        self._stderr = os.dup(2)
        self.config.add_cleanup(self._uninstall)

    def _uninstall(self) -> None:
        """Restore the default handlers."""
        for number, default in self._default_handlers.items():
            if signal.getsignal(number) == self._receive:
                signal.signal(number, default)
        os.close(self._stderr)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt at the first signal; end the process at a second Ctrl-C."""
        __tracebackhide__ = True
        if os.getpid() != self._pid:
            # a process that was forked a moment ago
            exit_silently(number, frame)
        if not self.cause:
            self.cause, self._received_at = _name(number), time.monotonic()
            _mute_closed_terminal()
            self._interrupt()
        elif number == signal.SIGINT and time.monotonic() - self._received_at > REPEATED:
            os.write(self._stderr, b"\nEnded at once. Every score whose test had ended is stored.\n")
            os._exit(pytest.ExitCode.INTERRUPTED)

    def _interrupt(self) -> None:
        """Raise KeyboardInterrupt where a signal came and nothing must be finished first."""
        __tracebackhide__ = True
        if self.cause and not self._is_deferred:
            raise KeyboardInterrupt(*[self.cause] * (self.cause != "Ctrl-C"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Iterator[None]:
        """Let a score be stored whole before the session is interrupted."""
        before, self._is_deferred = self._is_deferred, True
        try:
            yield
        finally:
            self._is_deferred = before
        if not self._is_ending:
            self._interrupt()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """Do not let a setting fail because the signal ended a process that it needs."""
        try:
            yield
        except Exception:
            self._interrupt()
            raise

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self) -> None:
        """Hold back the signals while workers start: they inherit that, until their plugin is there."""
        self._starts_workers = self._is_deferred = True
        self._mask("SIG_BLOCK")

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_configure_node(self) -> None:
        """Look between two workers for a signal."""
        if self._starts_workers:
            self._release()
            self.pytest_xdist_setupnodes()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionstart(self) -> Iterator[None]:
        """Look for a signal when all workers of `-n` have started."""
        try:
            yield
        finally:
            self._release()

    @pytest.hookimpl(wrapper=True, tryfirst=True, optionalhook=True)
    def pytest_xdist_make_scheduler(self) -> Iterator[None]:
        """Do the same for workers that a session starts on its own, later."""
        self._release()
        return (yield)

    def _release(self) -> None:
        """Let signals in again."""
        self._starts_workers = self._is_deferred = False
        self._mask("SIG_UNBLOCK")
        self._interrupt()

    def _mask(self, how: str) -> None:
        """Hold back or let in the signals that are handled here."""
        if self._default_handlers and hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(getattr(signal, how), list(self._default_handlers))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the settings."""
        self._count([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Count the settings under xdist, where only the workers collect."""
        self._count(ids)

    def _count(self, node_ids: list[str]) -> None:
        """Count the settings among node ids."""
        self.settings = sum(bool(parse_node_id(node_id)[1]) for node_id in node_ids) or self.settings

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        """Take note of an interruption, also of one that came without a signal."""
        self.cause = self.cause or "Ctrl-C"
        self._received_at = self._received_at or time.monotonic()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Store what workers have reported before the interruption, and do not wait long for their end."""
        self._mask("SIG_UNBLOCK")
        controller = self.config.pluginmanager.getplugin("dsession")
        if not self.cause or controller is None:
            return
        self._is_ending = True
        with suppress(Empty):
            while True:
                event, content = controller.queue.get_nowait()
                # a failure may come from the signal
                if event == "testreport" and not content["rep"].failed:
                    self.config.hook.pytest_runtest_logreport(report=content["rep"])
        if controller.nodemanager is not None:
            controller.nodemanager.EXIT_TIMEOUT = PATIENCE

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Iterator[None]:
        """Say below the ranking how to continue."""
        yield
        self._report(terminalreporter)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Say it where the session ended before there could be a summary."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            self._report(reporter)

    def _report(self, reporter: Any) -> None:
        """Print once what is stored and how to continue."""
        if self.cause and not self._has_printed:
            recorder = self.config.pluginmanager.getplugin("bob-recorder")
            outcomes = recorder.session.outcomes.values() if recorder is not None else ()
            done = sum(outcome.outcome in ("measured", "store") for outcome in outcomes)
            reporter.ensure_newline()
            reporter.write_line(how_to_continue(self.cause, self.config.invocation_params.args, done, self.settings))
            self._has_printed = True


def how_to_continue(cause: str, arguments: Any, done: int, settings: int) -> str:
    """Return a line that says what is stored and which command goes on.

    >>> how_to_continue("SIGTERM", ["suites/", "--backbone=a b"], done=3, settings=37)
    "Interrupted by SIGTERM: 3 of 37 settings have scores. To continue: pytest suites/ '--backbone=a b'"
    >>> how_to_continue("Ctrl-C", ["--backbone=x"], done=0, settings=0)
    'Interrupted by Ctrl-C before the first score, so there is no ranking. To continue: pytest --backbone=x'
    """
    state = (
        f": {done} of {settings} settings have scores" if done else " before the first score, so there is no ranking"
    )
    command = shlex.join(["pytest", *map(str, arguments)])
    note = " (--bob-rerun measures all of them again)" if done and "--bob-rerun" in arguments else ""
    return f"Interrupted by {cause}{state}. To continue: {command}{note}"


def _name(number: int) -> str:
    """Return the name of a signal as a person knows it."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _mute_closed_terminal() -> None:
    """Send what goes to a terminal that was closed to nowhere, so that the end of the session has no errors."""
    for descriptor in range(64):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and _is_closed_terminal(descriptor):
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


def _is_closed_terminal(descriptor: int) -> bool:
    """Tell whether a descriptor is a terminal that hung up: asking for its settings is an input/output error."""
    try:
        import termios

        termios.tcgetattr(descriptor)
    except ImportError:
        return False
    except termios.error as error:
        return bool(error.args[0] == errno.EIO)
    return False
