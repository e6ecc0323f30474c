"""`bob baseline refresh`: measure the rows of a baseline folder whose protocol, data or backbone changed.

A folder of published figures is derived from its tables instead.
"""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import bob_folder, bundled, find_config
from bob_gauntlet.errors import named
from bob_gauntlet.pools import paper_tables
from bob_gauntlet.pools.folder import BackboneRow, find_folder, read_backbones, read_scores
from bob_gauntlet.pools.pool import freeze_pools
from bob_gauntlet.pools.saving import add, is_too_noisy, measured_names, read_pretraining_recipe, split_seeds
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.process_guard import run_guarded
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store

_INTERRUPTED = 2
"""pytest's exit code of a session that was interrupted."""


def refresh(name: str, pytest_options: Sequence[str]) -> int:
    """Run the suites for every row of backbones.csv and write the scores; return pytest's exit code.

    Scores of the folder that are still valid are read, not measured. The runs have their own store, so that a refresh
    that was interrupted resumes. Ranked times of a machine that was not quiet are not written; the code is 1 then.
    """
    home = bob_folder(Path.cwd())
    folder = find_folder(name, home / "baselines")
    if (folder / "printed.csv").is_file():
        return _derive(folder)
    rows = list(read_backbones(folder).values())
    store = Store(home / "refresh" / folder.name)
    known = set(store.latest())
    store.append(s for saved in read_scores(folder) for s in split_seeds(saved) if s.identity not in known)
    results = store.folder.with_suffix(".json")
    results.parent.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    code = _measure(rows, store.folder, results, pytest_options)
    scores = [Score.from_dict(record) for record in json.loads(results.read_text())] if results.is_file() else []
    if code == _INTERRUPTED:
        print(f"interrupted; to continue: {shlex.join(['bob', 'baseline', 'refresh', name, *pytest_options])}")
    if scores:
        add(folder, rows, scores, Artifacts(home / "artifacts"), _recipes(rows))
    noisy = dict.fromkeys(f"{score.setting} of {score.backbone}" for score in scores if is_too_noisy(score))
    if noisy:
        command = f"bob baseline refresh {name} -k efficiency --bob-rerun"
        print(f"not saved, since the machine was not quiet: {named(noisy, most=4)}; run it again alone: {command}")
    return code or int(bool(noisy))


def _derive(folder: Path) -> int:
    """Derive published figures from their tables again, and freeze the pools of the folder."""
    scores, rows = paper_tables.build(folder)
    freeze_pools(folder, scores, {row.name: row for row in rows})
    return 0


def _measure(rows: Sequence[BackboneRow], store: Path, results: Path, pytest_options: Sequence[str]) -> int:
    """Run the suites for the backbones of `rows`; return pytest's exit code."""
    names = [f"--backbone={name}" for row in rows for name in measured_names(row)]
    # relative paths, since the provenance of every score holds the command
    outputs = [f"--bob-store={_relative(store)}", f"--bob-json={_relative(results)}", "--bob-pool=none"]
    return run_guarded(
        [sys.executable, "-m", "pytest", _relative(bundled("suites")), *names, *outputs, *pytest_options]
    )


def _relative(path: Path) -> str:
    return os.path.relpath(path)


def _recipes(rows: Sequence[BackboneRow]) -> dict[str, dict[str, object]]:
    """Return name -> recipe of its pretraining, for checkpoints that have one beside them."""
    config = find_config(Path.cwd())
    recipes = {row.name: read_pretraining_recipe(resolve(measured_names(row)[0], config)) for row in rows}
    return {name: recipe for name, recipe in recipes.items() if recipe}
