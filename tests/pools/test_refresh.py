"""`bob baseline refresh`: only stale rows are measured, and an interrupted refresh resumes."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bob_gauntlet.pools.folder import BackboneRow, read_scores, write_folder
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.pools.refresh import refresh as refresh_folder
from tests.helpers.bob_command import run_bob
from tests.helpers.small_pools import LATENCY, make_score

ROOT = Path(__file__).parents[2]
SEEDS = "random:test_resnet,seed=0 random:test_resnet,seed=1"


def refresh(folder: Path, *options: str) -> str:
    """Run `bob baseline refresh ours --setting 'knn@*'` in `folder`; return what it prints."""
    command = [sys.executable, "-m", "bob_gauntlet.cli", "baseline", "refresh", "ours", "--setting", "knn@*", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_only_stale_rows_are_measured(tmp_path: Path) -> None:
    """The first refresh of four backbones measures 8 settings, and the second one none.

    After the protocol hash of a setting changed, only its rows are measured.
    """
    folder = tmp_path / ".bob/baselines/ours"
    folder.mkdir(parents=True)
    names = ("random:test_vit", "random:test_convnext")
    rows = [BackboneRow("r", "reference", SEEDS), *(BackboneRow(name, "candidate", name) for name in names)]
    write_folder(folder, [], rows)
    assert "measured 8 settings, 0 were already in the store" in refresh(tmp_path)
    saved = read_scores(folder)
    assert len(saved) == 3 * 2 * 2
    assert len(next(s for s in saved if s.backbone == "r").provenance["mean_of"]) == 2
    before = load_pool(str(folder), folder).references
    subprocess.run(["rm", "-rf", tmp_path / ".bob/refresh", tmp_path / ".bob/artifacts"], check=True)
    assert "measured 0 settings, 8 were already in the store" in refresh(tmp_path)
    assert load_pool(str(folder), folder).references == before
    stale = [replace(s, protocol_hash="old") if s.setting == "knn@digits" else s for s in read_scores(folder)]
    write_folder(folder, stale, rows)
    subprocess.run(["rm", "-rf", tmp_path / ".bob/refresh"], check=True)
    assert "measured 4 settings, 4 were already in the store" in refresh(tmp_path)
    assert load_pool(str(folder), folder).references == before


def test_options_that_choose_settings_reach_pytest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bob baseline refresh` passes on what chooses settings, beside any other option of pytest."""
    folder = tmp_path / ".bob/baselines/ours"
    folder.mkdir(parents=True)
    write_folder(folder, [], [BackboneRow("a", "candidate", "random:a")])
    commands: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bob_gauntlet.pools.refresh.run_guarded", lambda command: commands.append(command) or 5)
    options = ["--setting", "linear-probe@*", "--task=Cls", "-n", "2", "-k", "photos"]
    assert run_bob("baseline", "refresh", "ours", *options).exit_code == 5
    assert commands[0][-len(options) :] == options


def test_an_interrupted_refresh_says_how_to_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the command of the user, not the one that it starts."""
    folder = tmp_path / ".bob/baselines/ours"
    folder.mkdir(parents=True)
    write_folder(folder, [], [BackboneRow("a", "candidate", "random:a")])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bob_gauntlet.pools.refresh.run_guarded", lambda command: 2)
    result = run_bob("baseline", "refresh", "ours", "-k", "knn and photos")
    assert result.exit_code == 2
    assert result.output == "interrupted; to continue: bob baseline refresh ours -k 'knn and photos'\n"


def test_published_figures_are_derived_and_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refreshing the folder `paper` derives every file from its tables, byte for byte; pytest never starts."""
    bundled = ROOT / "baselines/paper"
    folder = tmp_path / ".bob/baselines/paper"
    shutil.copytree(bundled, folder)
    for name in ("scores.csv", "pool.json", "pool-small.json"):
        (folder / name).write_text((folder / name).read_text().replace("80.38", "81.38"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bob_gauntlet.pools.refresh.run_guarded", lambda *_: pytest.fail("pytest was started"))
    assert refresh_folder("paper", []) == 0
    for name in ("scores.csv", "backbones.csv", "provenance.json", "pool.json", "pool-small.json"):
        assert (folder / name).read_bytes() == (bundled / name).read_bytes(), name


def test_a_refresh_on_a_busy_machine_says_what_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ranked time of a busy machine is not written, a line says so, and the code is not 0."""
    folder = tmp_path / ".bob/baselines/ours"
    folder.mkdir(parents=True)
    write_folder(folder, [], [BackboneRow(n, "candidate", f"random:{n}") for n in ("a", "b")])
    timing = {"a": {"spread": 0.01}, "b": {"spread": 0.5}}
    scores = [make_score(n, LATENCY, 1.0, provenance={"timing": timing[n]}) for n in ("a", "b")]
    results = tmp_path / ".bob/refresh/ours.json"

    def measure(command: list[str]) -> int:
        results.write_text(json.dumps([score.to_dict() for score in scores]))
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bob_gauntlet.pools.refresh.run_guarded", measure)
    monkeypatch.setattr("bob_gauntlet.pools.refresh._recipes", lambda rows: {})
    assert refresh_folder("ours", []) == 1
    assert [s.backbone for s in read_scores(folder)] == ["a"]
    assert capsys.readouterr().out == (
        "not saved, since the machine was not quiet: efficiency@noise of b; run it again alone: bob baseline refresh "
        "ours -k efficiency --bob-rerun\n"
    )
