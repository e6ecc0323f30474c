"""`bob baseline refresh`: only what is stale is measured, and a cut-off refresh goes on."""

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

ROOT = Path(__file__).parents[2]
SEEDS = "random:test_resnet,seed=0 random:test_resnet,seed=1"


def refresh(folder: Path, *options: str) -> str:
    """`bob baseline refresh ours -k knn`, from a folder of its own."""
    command = [sys.executable, "-m", "bob_gauntlet.cli", "baseline", "refresh", "ours", "-k", "knn", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_only_stale_rows_are_measured(tmp_path: Path) -> None:
    """A mean over two seeds and two single backbones: 8 settings; again: none; after a protocol moved: those rows."""
    folder = tmp_path / ".bob/baselines/ours"
    folder.mkdir(parents=True)
    names = ("random:test_vit", "random:test_convnext")
    rows = [BackboneRow("r", "reference", SEEDS), *(BackboneRow(name, "candidate", name) for name in names)]
    write_folder(folder, [], rows)
    assert "measured 8 settings, 0 were already in the store" in refresh(tmp_path)
    found = read_scores(folder)
    assert len(found) == 3 * 2 * 2
    assert len(next(s for s in found if s.backbone == "r").provenance["mean_of"]) == 2
    before = load_pool(str(folder), folder).references
    subprocess.run(["rm", "-rf", tmp_path / ".bob/refresh", tmp_path / ".bob/artifacts"], check=True)
    assert "measured 0 settings, 8 were already in the store" in refresh(tmp_path)
    assert load_pool(str(folder), folder).references == before
    moved = [replace(s, protocol_hash="old") if s.setting == "knn@digits" else s for s in read_scores(folder)]
    write_folder(folder, moved, rows)
    subprocess.run(["rm", "-rf", tmp_path / ".bob/refresh"], check=True)
    assert "measured 4 settings, 4 were already in the store" in refresh(tmp_path)
    assert load_pool(str(folder), folder).references == before


def test_published_figures_are_derived_and_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bob baseline refresh paper`: from its tables, with every pool frozen again; pytest never starts."""
    folder = tmp_path / ".bob/baselines/printed"
    shutil.copytree(ROOT / "baselines/paper", folder)
    for name in ("scores.csv", "pool.json", "pool-small.json"):
        (folder / name).write_text((folder / name).read_text().replace("80.38", "81.38"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("subprocess.call", lambda *_: pytest.fail("pytest was started"))
    assert refresh_folder("printed", []) == 0
    assert (folder / "scores.csv").read_bytes() == (ROOT / "baselines/paper/scores.csv").read_bytes()
    for name in ("pool.json", "pool-small.json"):
        mine, theirs = (json.loads((root / name).read_text()) for root in (folder, ROOT / "baselines/paper"))
        assert mine["measures"] == theirs["measures"]
