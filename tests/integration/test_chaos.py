"""Sessions and workers that are killed: the same command, typed again, ends like an undisturbed run."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bob_gauntlet.scores.store import Store
from tests.helpers.plugin_suite import SETTINGS, SUITE

BACKBONE = "--bob-backbone=random:test_resnet"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of artefacts that all these tests share."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the quick suite."""
    (tmp_path / "test_quick.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = test_quick.py\naddopts = -k 'not scenes'\n")
    return tmp_path


def start(folder: Path, cache: Path, *options: str, python: Path | str = sys.executable) -> subprocess.Popen[str]:
    """Start the quick suite in a new process."""
    command = [str(python), "-m", "pytest", BACKBONE, f"--bob-cache={cache}", "--bob-pool=none", *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a session, and return what it printed."""
    return process.communicate(timeout=240)[0]


def measured(folder: Path) -> list[str]:
    """Return the settings that have a score in the store."""
    return sorted(score.setting for score in Store(folder / ".bob/store").latest().values())


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true, for one minute at most."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen within a minute")


def pids(folder: Path) -> list[int]:
    """Return the ids of the processes that began a setting, in order."""
    path = folder / "log.txt"
    return [int(line.split()[-1]) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_killed_worker_costs_nothing(folder: Path, cache: Path) -> None:
    """The item that a killed worker ran is tried again, and every item passes."""
    (folder / "plan.txt").write_text("knn@photos kill once")
    out = finish(start(folder, cache, "-n2"))
    assert "6 passed" in out
    assert measured(folder) == sorted(SETTINGS)


@pytest.mark.slow
def test_an_item_that_always_kills_fails_and_the_others_do_not(folder: Path, cache: Path) -> None:
    """An item that kills its worker is tried twice; then it fails with a message, and the exit code is 1."""
    (folder / "plan.txt").write_text("knn@photos kill")
    process = start(folder, cache, "-n2")
    out = finish(process)
    assert process.returncode == 1
    assert "killed its worker twice" in out
    assert "1 failed, 5 passed" in out
    assert "failed: knn@photos of random:test_resnet" in out
    assert measured(folder) == sorted(set(SETTINGS) - {"knn@photos"})
    assert len([line for line in (folder / "log.txt").read_text().splitlines() if "knn@photos" in line]) == 2


@pytest.mark.slow
def test_two_workers_killed_at_once(folder: Path, cache: Path) -> None:
    """Two workers that are killed within 100 ms are both replaced, and every setting is measured."""
    (folder / "plan.txt").write_text("linear-probe@photos sleep 3\nlinear-probe@digits sleep 3")
    process = start(folder, cache, "-n2")
    wait_for(lambda: len(set(pids(folder))) == 2)
    for pid in set(pids(folder)):
        os.kill(pid, signal.SIGKILL)
    out = finish(process)
    assert "6 passed" in out, out
    assert measured(folder) == sorted(SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["serial", "-n2"])
def test_a_killed_session_goes_on_where_it_was(folder: Path, cache: Path, workers: list[str]) -> None:
    """After SIGKILL of a session, the same command reads the stored scores and measures the rest."""
    (folder / "plan.txt").write_text("knn@digits sleep 2\nretrieval@copydays-mini sleep 2\nknn@photos sleep 1")
    process = start(folder, cache, *workers)
    wait_for(lambda: len(measured(folder)) >= 2)
    process.kill()
    finish(process)
    before = len(measured(folder))
    (folder / "plan.txt").unlink()
    out = finish(start(folder, cache, *workers))
    assert f"{before} were already in the store" in out
    assert measured(folder) == sorted(SETTINGS)


@pytest.mark.slow
def test_two_sessions_share_a_store_and_a_cache(folder: Path, cache: Path) -> None:
    """Two sessions that run at the same time both pass, and the scores that they store agree."""
    both = [start(folder, cache, "-n2"), start(folder, cache)]
    assert all("6 passed" in finish(process) for process in both)
    values: dict[str, set[float]] = {}
    for score in Store(folder / ".bob/store"):
        values.setdefault(score.setting, set()).add(score.value)
    assert sorted(values) == sorted(SETTINGS)
    assert all(len(setting_values) == 1 for setting_values in values.values())


@pytest.mark.slow
@pytest.mark.parametrize("version", ["8.4.*", "9.1.*", "9.2.*"])
def test_every_supported_pytest(
    folder: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory, version: str
) -> None:
    """On each supported version of pytest two workers measure every setting, although one of them is killed."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    python = home / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", f"pytest=={version}", "pytest-xdist"], check=True)
    [site] = (home / "lib").glob("python*/site-packages")
    root = Path(__file__).parents[2]
    (site / "lent.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{root}\n")
    (folder / "plan.txt").write_text("knn@photos kill once")
    # pytest loads the plugin by its entry point if the package is installed in the lent environment
    out = finish(start(folder, cache, "-n2", python=python))
    assert f"pytest-{version[:-2]}" in out
    assert "6 passed" in out, out
    assert measured(folder) == sorted(SETTINGS)
