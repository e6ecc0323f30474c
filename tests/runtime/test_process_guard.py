"""Guarded processes end with their parent and leave no message."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bob_gauntlet.runtime.process_guard import STOP_SIGNALS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="loader processes are forked")

# A parent that forks a guarded child, which says its id and then sleeps; what is done first stands before it.
PARENT = """
import os, signal, sys, time
from bob_gauntlet.runtime import process_guard
parent = os.getpid()
{first}
child = os.fork()
if not child:
    process_guard.guard_loader(parent, 0)
    print(os.getpid(), flush=True)
    time.sleep(60)
print("ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def start(source: str) -> subprocess.Popen[str]:
    """Start a Python script."""
    return subprocess.Popen(
        [sys.executable, "-c", source], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_until_gone(pid: int) -> None:
    """Wait until a process runs no more; fail after ten seconds."""
    for _ in range(500):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("it still runs after ten seconds")


@pytest.mark.parametrize("first", ["", "process_guard.kill_with_parent = lambda: False"], ids=["system", "watchdog"])
def test_a_loader_ends_with_a_killed_parent(first: str) -> None:
    """The system kills a loader process with its parent; where it cannot, a thread of the loader process ends it."""
    parent = start(PARENT.format(first=first))
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    wait_until_gone(child)
    assert parent.communicate()[0] == ""


def test_a_loader_whose_parent_is_gone_already_ends() -> None:
    """A parent that ended between the fork and the guard sends no signal any more."""
    assert start(PARENT.format(first="parent = 0")).communicate(timeout=30)[0] == "ended with 0\n"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_to_the_whole_session_ends_a_loader_silently(number: signal.Signals) -> None:
    """It prints nothing and ends with 0, since torch raises an error in the parent where a loader ends otherwise."""
    parent = start(PARENT.format(first=""))
    assert parent.stdout is not None
    os.kill(int(parent.stdout.readline()), number)
    assert parent.communicate(timeout=30)[0] == "ended with 0\n"


def test_an_ignored_signal_stays_ignored() -> None:
    """Under nohup loader processes ignore SIGHUP too."""
    parent = start(PARENT.format(first="signal.signal(signal.SIGHUP, signal.SIG_IGN)"))
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, signal.SIGHUP)
    time.sleep(0.2)
    os.kill(child, signal.SIGKILL)
    assert parent.communicate(timeout=30)[0] == "ended with -9\n"


@pytest.mark.parametrize(("called_off", "code"), [(False, 1), (True, 3)])
def test_a_watchdog_ends_a_process_whose_main_thread_is_in_native_code(called_off: bool, code: int) -> None:
    """The process ends when the watchdog's wait raises; if it was called off, the process ends by itself."""
    source = f"""
import ctypes, sys, time
from bob_gauntlet.runtime.process_guard import exit_after
def wait():
    time.sleep(0.1)
    raise OSError("the pipe is closed")
call_off = exit_after(wait)
{called_off} and call_off()
ctypes.CDLL(None).usleep({300_000 if called_off else 30_000_000})
sys.exit(3)
"""
    process = start(source)
    assert process.communicate(timeout=20)[0] == ""
    assert process.returncode == code


COMMAND = """
import signal, sys, time
def end(number, frame):
    print(signal.Signals(number).name, flush=True)
    sys.exit(2)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, end)
import os
print(os.getpid(), flush=True)
time.sleep(60)
"""


def start_guarded_command() -> tuple[subprocess.Popen[str], int]:
    """Start a process that runs a guarded command; return it and the command's process id."""
    process = start(
        "import sys; from bob_gauntlet.runtime.process_guard import run_guarded\n"
        f"print('code', run_guarded([sys.executable, '-c', {COMMAND!r}]))"
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_ends_the_command_that_a_process_runs(number: signal.Signals) -> None:
    """`bob baseline refresh` passes SIGTERM to pytest, waits for its end, and returns its exit code."""
    passed_on = signal.SIGTERM if number == signal.SIGINT else number
    process, _ = start_guarded_command()
    process.send_signal(number)
    assert process.communicate(timeout=30)[0] == f"{passed_on.name}\ncode 2\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not kill a process with its parent")
def test_a_command_ends_with_a_killed_process() -> None:
    """The command does not outlive the process that runs it."""
    process, command = start_guarded_command()
    process.kill()
    wait_until_gone(command)
    process.communicate()
