"""Signals in real sessions of pytest whose tests only sleep: every process ends, and every finished test is reported.

The sessions measure nothing, so that they start without torch; tests/integration/test_interruptions.py has trainings.
"""

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.plugin.signals import how_to_continue
from tests.helpers.signalled import ROOT, SignalledSession

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are counted in /proc")

CONFTEST = """
from bob_gauntlet.plugin.signals import watch_signals

def pytest_configure(config):
    watch_signals(config)
"""
TESTS = """
import ctypes, os, time
from pathlib import Path
import pytest

def test_quick():
    pass

@pytest.mark.parametrize("number", [0, 1])
def test_long(number):
    Path(f"started-{number}").touch()
    LONG
"""
GONE = 10
"""Seconds within which every process ends on a busy machine. Without the guards it takes at least 15."""

SLEEP = "time.sleep(60)"
# holds Python's lock, so that no other thread of the process runs
LOCKED = "ctypes.PyDLL(None).sleep(60)"


def start(folder: Path, *options: str, long: str = SLEEP, before: tuple[str, ...] = ()) -> SignalledSession:
    """Start a session of one quick and two long tests."""
    write_tests(folder, long)
    return SignalledSession(folder, *options, before=before)


def write_tests(folder: Path, long: str = SLEEP) -> None:
    """Write one quick and two long tests into a folder."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_long.py").write_text(TESTS.replace("LONG", long))
    (folder / "pytest.ini").write_text("[pytest]\n")


def wait_for_start(session: SignalledSession, long_tests: int) -> None:
    """Wait until this number of long tests run and the quick test is reported."""
    session.wait_until(lambda: len(list(session.folder.glob("started-*"))) == long_tests)


@pytest.mark.parametrize(
    ("name", "workers"),
    [
        ("SIGTERM", 0),
        ("SIGTERM", 2),
        ("SIGKILL", 2),
        *(
            pytest.param(name, workers, marks=pytest.mark.slow)
            for name, workers in [("SIGINT", 0), ("SIGINT", 2), ("SIGHUP", 0), ("SIGHUP", 2), ("SIGKILL", 0)]
        ),
    ],
)
def test_no_process_outlives_its_session(tmp_path: Path, name: str, workers: int) -> None:
    """After each signal to the first process all processes end; all but SIGKILL report and exit with 2."""
    with start(tmp_path, f"-n{workers}") as session:
        wait_for_start(session, max(1, workers))
        assert len(session.pids()) == 1 + workers
        session.send(getattr(signal, name))
        assert session.seconds_until_gone() < GONE
        if name == "SIGKILL":
            return
        assert session.process.returncode == 2
        cause = "Ctrl-C" if name == "SIGINT" else name
        assert f"Interrupted by {cause} before the first score, so there is no ranking." in session.text
        assert f"To continue: pytest -pno:cacheprovider -pxdist -n{workers}\n" in session.text
        assert "1 passed" in session.text
        assert_quiet(session.text)


def assert_quiet(text: str) -> None:
    """Check that a session printed no traceback, no crash, and one interruption."""
    for noise in ("Traceback", "Error", "crashed", "failed", "Warning"):
        assert noise not in text, text
    assert len(re.findall("^!!!+", text, re.MULTILINE)) == 1, text


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow)])
def test_a_signal_to_every_process_is_reported_once(tmp_path: Path, name: str, workers: int) -> None:
    """A terminal and a batch system signal the workers too: no worker is replaced, and nothing is printed twice."""
    with start(tmp_path, f"-n{workers}") as session:
        wait_for_start(session, max(1, workers))
        session.send(getattr(signal, name), group=True)
        assert session.seconds_until_gone() < GONE
        assert session.process.returncode == 2
        assert_quiet(session.text)


STORING = """
    import os, signal, time
    from pathlib import Path

    def pytest_runtest_logreport(report):
        if report.when == "call":
            Path("started-0").touch()
            time.sleep(1)
            if not Path("stored").exists():
                os.kill(os.getpid(), signal.SIGTERM)
            with Path("stored").open("a") as file:
                file.write(report.nodeid + "\\n")
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_report_is_stored_whole(tmp_path: Path, workers: int) -> None:
    """A signal that comes while a score is stored waits for that; reports that wait behind it are stored too."""
    write_tests(tmp_path)
    (tmp_path / "test_long.py").write_text("def test_1(): pass\ndef test_2(): pass\n")
    # workers load it too, and report nothing there
    hook = textwrap.dedent(STORING).replace("if report", "if 'PYTEST_XDIST_WORKER' not in os.environ and report")
    (tmp_path / "conftest.py").write_text(CONFTEST + hook)
    with SignalledSession(tmp_path, f"-n{workers}") as session:
        session.seconds_until_gone()
        assert session.process.returncode == 2
        assert len((tmp_path / "stored").read_text().splitlines()) == max(1, workers)
        assert_quiet(session.text)


def test_an_error_after_a_signal_is_no_failure(tmp_path: Path) -> None:
    """Where a test gets an error because the signal ended one of its processes, the session is interrupted."""
    failing = "\n    try: time.sleep(60)\n    except KeyboardInterrupt: raise RuntimeError('a loader ended')"
    with start(tmp_path, "-n0", long=failing) as session:
        wait_for_start(session, 1)
        session.send(signal.SIGTERM)
        session.seconds_until_gone()
        assert session.process.returncode == 2
        assert_quiet(session.text)


@pytest.mark.slow
def test_timeout_sends_its_signal_twice(tmp_path: Path) -> None:
    """`timeout` signals the process and then its group; the session still ends with its report."""
    with start(tmp_path, "-n2", before=("timeout", "4")) as session:
        assert session.seconds_until_gone(30)
        assert session.process.returncode == 124, session.text
        assert "Interrupted by SIGTERM" in session.text
        assert_quiet(session.text)


@pytest.mark.parametrize("name", [pytest.param("SIGTERM", marks=pytest.mark.slow), "SIGKILL"])
def test_workers_end_inside_native_code(tmp_path: Path, name: str) -> None:
    """A worker whose main thread never lets another thread run is killed, by the system or by its controller."""
    with start(tmp_path, "-n2", long=LOCKED) as session:
        wait_for_start(session, 2)
        session.send(getattr(signal, name))
        assert session.seconds_until_gone() < GONE


def test_workers_notice_the_end_of_their_controller(tmp_path: Path) -> None:
    """Where the system does not kill a process with its parent, a thread of the worker sees that the channel closed."""
    write_tests(tmp_path)
    without_system = "from bob_gauntlet.plugin import worker_guard\nworker_guard.kill_with_parent = lambda: False\n"
    (tmp_path / "conftest.py").write_text(without_system + CONFTEST)
    with SignalledSession(tmp_path, "-n2") as session:
        wait_for_start(session, 2)
        session.send(signal.SIGKILL)
        assert session.seconds_until_gone() < GONE


@pytest.mark.slow
def test_ctrl_c_while_workers_start(tmp_path: Path) -> None:
    """Ctrl-C before the workers have loaded the plugin prints no traceback of them."""
    with start(tmp_path, "-n2") as session:
        session.wait_until(lambda: len(session.pids()) >= 2)
        session.send(signal.SIGINT, group=True)
        session.seconds_until_gone()
        assert session.process.returncode == 2
        assert_quiet(session.text)


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    """It ends a session that does not react to the first one."""
    slow = "\n    try: time.sleep(60)\n    finally: Path('stuck').touch(); time.sleep(60)"
    with start(tmp_path, "-n0", long=slow) as session:
        wait_for_start(session, 1)
        session.send(signal.SIGINT)
        session.wait_until((tmp_path / "stuck").exists)
        session.wait_until(lambda: not session.send(signal.SIGINT) and session.process.poll() is not None, 5)
        assert session.process.returncode == 2
        assert session.text.endswith("Ended at once. Every score whose test had ended is stored.\n")


@pytest.mark.slow
def test_nohup_keeps_a_session_running(tmp_path: Path) -> None:
    """A session that was started to ignore SIGHUP, and its workers, go on."""
    with start(tmp_path, "-n2", before=("nohup",), long="time.sleep(2)") as session:
        wait_for_start(session, 2)
        session.send(signal.SIGHUP, group=True)
        session.wait_until(lambda: session.process.poll() is not None)
        assert session.process.returncode == 0
        assert "3 passed" in session.text


def test_a_closed_terminal_ends_a_session(tmp_path: Path) -> None:
    """Closing a terminal sends SIGHUP and makes every write to it fail; the session ends with 2 all the same."""
    script = """
import os, pty, sys, time
from pathlib import Path
child, terminal = pty.fork()
if not child:
    os.execv(sys.executable, [sys.executable, "-m", "pytest", "-pxdist", "-n2"])
while len(list(Path(".").glob("started-*"))) < 2:
    time.sleep(0.05)
os.close(terminal)
Path("code").write_text(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""
    write_tests(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, timeout=60)
    assert (tmp_path / "code").read_text() == "2"


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda number, frame: None], ids=["ignored", "another plugin's"])
def test_handlers_of_others_are_left_alone(pytester: pytest.Pytester, handler: Any) -> None:
    """A signal that somebody ignores or handles is not touched; the defaults come back when the session ends."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        "import signal\ndef test(): assert 'Interruptions' in str(signal.getsignal(signal.SIGTERM)), 'not handled'"
    )
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        signal.signal(signal.SIGTERM, handler)
        pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(failed=1)
        assert signal.getsignal(signal.SIGTERM) == handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_rerun_begins_again() -> None:
    """The line says that a session with --bob-rerun does not continue."""
    line = how_to_continue("Ctrl-C", ["--bob-rerun"], done=1, settings=2)
    assert line.endswith("To continue: pytest --bob-rerun (--bob-rerun measures all of them again)")
