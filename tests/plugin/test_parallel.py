"""Sessions that start workers on their own: which ones, how many, and how to do without."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bob_gauntlet.plugin.parallel import (
    WORKER_MEMORY,
    WORTH,
    Parallel,
    count_workers,
    may_start_workers,
    overload_lines,
)
from bob_gauntlet.runtime import limits
from bob_gauntlet.runtime.threads import SPINS
from tests.helpers.plugin_suite import SETTINGS, SUITE

SHORT_NAMES = """
from bob_gauntlet.plugin.options import add_short_names
def pytest_addoption(parser):
    add_short_names(parser)
"""

NO_NETWORK = """
from bob_gauntlet.backbones.spec import BackboneIdentity, InputTransform, Traits
from bob_gauntlet.gauntlet import Workspace
traits = Traits(family="conv", pretrained=True, features=8, params=1.0)
Workspace.identity = lambda *_: BackboneIdentity(fingerprint="f", transform=InputTransform(size=8), traits=traits)
"""
"""A conftest in which no backbone is loaded to identify it."""

ONLY_LOGS = """
import os
from bob_gauntlet.plugin import settings
from bob_gauntlet.protocols.catalog import CLASSIFICATION

@settings(*CLASSIFICATION)
def test_it(gauntlet, recipe, dataset):
    with open("log.txt", "a") as file:
        file.write(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']} {os.environ.get('GOMP_SPINCOUNT')}\\n")
"""
"""A suite that notes where its settings run, and measures nothing."""


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two workers be what `-n auto` starts, also in processes, which run this working tree."""
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "2")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.mark.parametrize(
    ("options", "starts"),
    [
        ([], True),
        (["-q"], True),
        (["-k", "knn"], True),
        (["--lf"], True),
        (["--maxprocesses=4"], True),
        (["--maxprocesses=1"], False),
        (["-n0"], False),
        (["-n2"], False),
        (["-nauto"], False),
        (["--dist=loadfile", "--tx=2*popen"], False),
        (["-d"], False),
        (["-p", "no:xdist"], False),
        (["-x"], False),
        (["--maxfail=3"], False),
        (["--pdb"], False),
        (["--trace"], False),
        (["-s"], False),
        (["--sw"], False),
        (["--setup-show"], False),
        (["--collect-only"], False),
    ],
    ids=str,
)
def test_what_asks_for_a_serial_run_gets_one(
    pytester: pytest.Pytester, two_workers: None, options: list[str], starts: bool
) -> None:
    """Without an option that asks for one process or for certain workers, a session of the suites may start workers."""
    pytester.makeconftest(SHORT_NAMES)
    assert may_start_workers(pytester.parseconfig("--backbone=x", *options)) is starts


@pytest.mark.parametrize("conftest", ["", "def pytest_addoption(parser):\n    parser.addoption('--backbone')\n"])
def test_tests_of_another_project_stay_in_one_process(
    pytester: pytest.Pytester, two_workers: None, conftest: str
) -> None:
    """Where the suites' short names are not declared, or are another project's, nothing is started."""
    pytester.makeconftest(conftest)
    options = ["--bob-backbone=x", *["--backbone=x"] * bool(conftest)]
    assert not may_start_workers(pytester.parseconfig(*options))


@pytest.mark.parametrize(
    ("environment", "cores", "memory", "gpus", "workers"),
    [
        ({}, 8, None, 0, 8),
        ({}, 1, None, 0, 1),
        ({"OMP_NUM_THREADS": "4"}, 8, None, 0, 2),
        ({"MKL_NUM_THREADS": "3"}, 8, None, 0, 2),
        ({"OMP_NUM_THREADS": "99"}, 8, None, 0, 1),
        ({"OMP_NUM_THREADS": "many"}, 8, None, 0, 8),
        ({}, 8, 3 * WORKER_MEMORY, 0, 3),
        ({}, 8, WORKER_MEMORY // 2, 0, 1),
        ({}, 8, None, 2, 2),
        ({"CUDA_VISIBLE_DEVICES": "3"}, 8, None, 4, 1),
        ({"CUDA_VISIBLE_DEVICES": ""}, 8, None, 4, 8),
    ],
)
def test_workers_are_bounded_by_gpus_cores_threads_and_memory(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    cores: int,
    memory: int | None,
    gpus: int,
    workers: int,
) -> None:
    """One worker for a GPU; without GPUs one for as many threads as the user wants, as far as memory reaches."""
    monkeypatch.setattr("bob_gauntlet.runtime.limits.usable_cores", lambda: cores)
    monkeypatch.setattr("bob_gauntlet.runtime.limits.available_memory", lambda: memory)
    monkeypatch.setattr("bob_gauntlet.runtime.devices.present_gpus", lambda: gpus)
    assert count_workers(environment, use_gpus=True) == workers


def test_a_session_on_the_cpu_ignores_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """--bob-device=cpu uses the cores of a machine with GPUs."""
    monkeypatch.setattr("bob_gauntlet.runtime.limits.usable_cores", lambda: 5)
    monkeypatch.setattr("bob_gauntlet.runtime.limits.available_memory", lambda: None)
    monkeypatch.setattr("bob_gauntlet.runtime.devices.present_gpus", lambda: 2)
    assert count_workers({}, use_gpus=False) == 5


@pytest.mark.parametrize(
    ("asked", "gpus", "line"),
    [
        (8, 0, "! -n 8: more workers than the 2 cores here; -n auto starts as many as pay"),
        (2, 0, None),
        (2, 1, "! -n 2: more workers than the 1 visible GPU here; -n auto starts as many as pay"),
        (None, 0, None),
    ],
)
def test_too_many_workers_are_allowed_and_said(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, gpus: int, line: str | None
) -> None:
    """More workers than cores or GPUs give one line in the header."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("bob_gauntlet.runtime.limits.usable_cores", lambda: 2)
    monkeypatch.setattr("bob_gauntlet.runtime.devices.present_gpus", lambda: gpus)
    config: Any = SimpleNamespace(getoption=lambda name, default: asked)
    assert list(overload_lines(config, use_gpus=True)) == [line] * (line is not None)


@pytest.mark.parametrize(
    ("seconds", "stored", "workers"),
    [
        ({"low-shot-10pct@photos": 99.0, "low-shot-10pct@digits": 99.0, "finetune@photos": 99.0}, 0, 3),
        ({"low-shot-10pct@photos": 99.0, "low-shot-10pct@digits": 99.0, "finetune@photos": 99.0}, 2, 1),
        ({"low-shot-10pct@photos": 99.0, "efficiency@noise": 99.0}, 0, 1),
        ({"finetune@photos": 99.0, "ood-finetune@photos-hard": 99.0}, 0, 1),
        ({f"low-shot-10pct@d{number}": 1.0 for number in range(20)}, 0, 1),
        ({f"low-shot-10pct@d{number}": WORTH / 5 for number in range(20)}, 0, 4),
        ({f"low-shot-10pct@d{number}": 99.0 for number in range(20)}, 0, 8),
        ({"knn@photos": 1.0}, 1, 1),
        ({}, 0, 1),
    ],
)
def test_there_are_no_more_workers_than_work(seconds: dict[str, float], stored: int, workers: int) -> None:
    """At most one worker for each unit that is left, for each WORTH seconds of work, and of those that there can be."""
    items = {f"t[x@{setting}]": each for setting, each in seconds.items()}
    timetable: Any = SimpleNamespace(seconds=items.__getitem__, is_stored=lambda item: list(items).index(item) < stored)
    unused: Any = None
    assert Parallel(unused, unused, timetable).useful_workers(list(items), most=8) == workers


@pytest.mark.parametrize(("workers", "gpus", "leased"), [(1, True, 1), (1, False, 0)])
def test_a_session_without_workers_takes_a_gpu_itself(
    monkeypatch: pytest.MonkeyPatch, workers: int, gpus: bool, leased: int
) -> None:
    """GPUs are left to workers until it is known that none starts; then this process leases one and measures there."""
    calls: list[str] = []
    monkeypatch.setattr("bob_gauntlet.plugin.session.uses_gpus", lambda options: gpus)
    monkeypatch.setattr("bob_gauntlet.plugin.session.lease_gpu", lambda: calls.append("lease"))
    session: Any = SimpleNamespace(options=None, measure_here=lambda: calls.append("measure here"))
    timetable: Any = SimpleNamespace(workers=workers)
    pytest_session: Any = SimpleNamespace(testsfailed=0)
    config: Any = None
    assert Parallel(config, session, timetable).pytest_runtestloop(pytest_session) is None
    assert calls == ["lease", "measure here"] * leased


def test_workers_are_started_after_collection(
    pytester: pytest.Pytester, two_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers run all settings with one thread each and a bounded wait, and the session says so."""
    for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeconftest(SHORT_NAMES + NO_NETWORK)
    pytester.makepyfile(ONLY_LOGS)
    options = ("--backbone=random:test_resnet", "--bob-pool=none")
    result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(passed=12)
    result.stdout.fnmatch_lines([
        "collected 12 items", "expected time on 2 workers: not known, *", "2 workers measure; -n0 *"
    ])  # fmt: skip
    lines = (pytester.path / "log.txt").read_text().splitlines()
    assert len(lines) == 12
    assert len(set(lines)) == 2
    assert {line.split()[2] for line in lines} == {SPINS}
    assert all(int(line.split()[1]) == max(1, limits.usable_cores() // 2) for line in lines)


@pytest.mark.slow
def test_a_session_from_the_store_starts_none(pytester: pytest.Pytester, two_workers: None, tmp_path: Path) -> None:
    """Two workers measure the first time; the second session reads everything in its own process."""
    pytester.makeconftest(SHORT_NAMES)
    pytester.makepyfile(test_quick=SUITE)
    options = ("--backbone=random:test_resnet", "--bob-pool=none", "-k", "not scenes")
    first = pytester.runpytest_subprocess(*options)
    first.assert_outcomes(passed=len(SETTINGS), deselected=1)
    lines = (pytester.path / "log.txt").read_text().splitlines()
    assert len({line.rpartition(" ")[2] for line in lines}) == 2
    second = pytester.runpytest_subprocess(*options)
    second.stdout.fnmatch_lines(["*measured 0 settings, 6 were already in the store*"])
    assert "workers" not in second.stdout.str()
