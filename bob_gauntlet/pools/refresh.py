"""`bob baseline refresh`: measure the rows of a baseline folder whose protocol, data or backbone moved.

A folder of published figures is derived from its tables instead.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import bob_folder, bundled, find_config
from bob_gauntlet.pools import paper_tables
from bob_gauntlet.pools.folder import BackboneRow, folder_of, read_backbones, read_scores
from bob_gauntlet.pools.pool import freeze_pool
from bob_gauntlet.pools.saving import add, names_of, recipe_of, unmerged
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store


def refresh(name: str, pytest_options: Sequence[str]) -> int:
    """Run the suites for every row of backbones.csv; what the rows already hold is read. Returns pytest's exit code.

    The runs have a store of their own, so that a refresh that was cut off goes on where it was.
    """
    home = bob_folder(Path.cwd())
    folder = folder_of(name, home / "baselines")
    if (folder / "printed.csv").is_file():
        return _derive(folder)
    rows = list(read_backbones(folder).values())
    store = Store(home / "refresh" / folder.name)
    known = set(store.latest())
    store.append(s for row in read_scores(folder) for s in unmerged(row) if s.identity not in known)
    results = store.folder.with_suffix(".json")
    results.parent.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    code = _measure(rows, store.folder, results, pytest_options)
    scores = [Score.from_dict(record) for record in json.loads(results.read_text())] if results.is_file() else []
    if scores:
        add(folder, rows, scores, Artifacts(home / "artifacts"), _recipes(rows))
    return code


def _derive(folder: Path) -> int:
    """Published figures are not measured: their rows are derived from the tables anew, and the pools frozen."""
    paper_tables.build(folder)
    for path in {folder / "pool.json", *folder.glob("pool-*.json")}:
        freeze_pool(path)
    return 0


def _measure(rows: Sequence[BackboneRow], store: Path, results: Path, pytest_options: Sequence[str]) -> int:
    names = [f"--backbone={name}" for row in rows for name in names_of(row)]
    # relative paths, since the command stands in the provenance of every score
    where = [f"--bob-store={_relative(store)}", f"--bob-json={_relative(results)}", "--bob-pool=none"]
    return subprocess.call(
        [sys.executable, "-m", "pytest", _relative(bundled("suites")), *names, *where, *pytest_options]
    )


def _relative(path: Path) -> str:
    return os.path.relpath(path)


def _recipes(rows: Sequence[BackboneRow]) -> dict[str, dict[str, object]]:
    """Name -> how its checkpoint was pretrained, where a record lies beside it."""
    config = find_config(Path.cwd())
    return {row.name: recipe for row in rows if (recipe := recipe_of(resolve(names_of(row)[0], config)))}
