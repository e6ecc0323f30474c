"""Tests of the warnings at the end of a session: damaged store, damaged cache, full disk, with and without workers."""

import re
from pathlib import Path

import pytest

# pytester unloads modules that a run imported, and torch cannot be imported twice, so it is imported before
import bob_gauntlet.backbones.build
import bob_gauntlet.datasets.mini.classification  # noqa: F401
from tests.helpers.plugin_suite import SUITE

ROOT = Path(__file__).parents[2]

WORLDS = {"no xdist": ["-p", "no:xdist"], "-n0": ["-n0"], "-n2": ["-n2"]}

FULL_DISK = """
import errno, os
from unittest.mock import patch

def refuse(path, content):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

def pytest_configure(config):
    if os.path.exists("full"):
        full = patch("bob_gauntlet.runtime.artifacts.write_atomically", refuse)
        full.start()
        config.add_cleanup(full.stop)
"""
"""A conftest with which no artefact can be written while a file `full` is there, also in workers."""


@pytest.fixture
def workspace(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with the quick suite, a store with a damaged line, and a cache with a damaged identity."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(test_quick=SUITE)
    pytester.makeconftest(FULL_DISK)
    run(pytester, "no xdist", "-k", "knn and digits")
    [path] = (pytester.path / ".bob/store").glob("*.jsonl")
    path.write_text(path.read_text() + '{"provenance": null}\n')
    return pytester


def run(workspace: pytest.Pytester, world: str, *options: str) -> pytest.RunResult:
    """Run the quick suite on digits, in this process unless workers are needed."""
    start = workspace.runpytest_subprocess if world == "-n2" else workspace.runpytest_inprocess
    return start("--bob-backbone=random:test_resnet", "--bob-pool=none", *WORLDS[world], *options)


def warnings_of(result: pytest.RunResult) -> list[str]:
    """Return the lines of the section of warnings."""
    text = re.split(r"=+ warnings of bob-gauntlet =+\n", result.stdout.str())
    assert len(text) == 2, result.stdout.str()
    return text[1].partition("\n=")[0].splitlines()


@pytest.mark.parametrize("world", WORLDS)
def test_every_warning_is_shown_once_at_the_end(workspace: pytest.Pytester, world: str) -> None:
    """A damaged line, a damaged artefact and a full disk are one line each, and the settings are measured."""
    [identity] = (workspace.path / ".bob/artifacts/tickets").glob("*.safetensors")
    identity.write_bytes(identity.read_bytes()[:-1])
    (workspace.path / "full").touch()
    result = run(workspace, world, "-k", "digits")
    result.assert_outcomes(passed=2)
    lines = warnings_of(result)
    store = min((workspace.path / ".bob/store").glob("*.jsonl"))
    assert [line for line in lines if line.startswith(f"line 2 of {store} is damaged and skipped: ")] == lines[:1]
    [damaged] = [line for line in lines if line.startswith(f"{identity} is damaged (")]
    assert "and is computed again" in damaged
    [full] = [line for line in lines if "cannot be kept" in line]
    cache = workspace.path / ".bob/artifacts"
    assert full.startswith(f"artefacts cannot be kept in {cache} (No space left on device); pass --bob-cache DIR")
    assert full.endswith(" times)") == (world == "-n2")
    assert len(lines) == 3


def test_a_session_without_a_warning_has_no_section(workspace: pytest.Pytester) -> None:
    """Where nothing is wrong, nothing is said of it, and warnings of an earlier session are not repeated."""
    for path in (workspace.path / ".bob/store").glob("*.jsonl"):
        path.unlink()
    result = run(workspace, "no xdist", "-k", "knn and digits")
    result.assert_outcomes(passed=1)
    assert "warnings of bob-gauntlet" not in result.stdout.str()
