"""From stored runs to a baseline folder: `--bob-save`, and what `bob baseline refresh` writes.

Backbones that a row of backbones.csv lists together (the seeds of one random initialisation) become one row: the mean,
with each seed's value and fingerprint in its provenance.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.errors import UsageError
from bob_gauntlet.pools.folder import (
    RANDOM_INIT,
    BackboneRow,
    PerExampleValues,
    counts,
    known_row,
    read_backbones,
    read_examples,
    read_scores,
    write_examples,
    write_folder,
)
from bob_gauntlet.pools.pool import freeze_pool
from bob_gauntlet.runtime.artifacts import Artifacts, digest
from bob_gauntlet.scores.provenance import Provenance
from bob_gauntlet.scores.score import Score

_STYLES = {"supervised": "supervised", "simclr": "self-supervised", "rotation": "self-supervised"}
"""Style of the methods of benchmarks/pretrain.py."""

_CACHED = ("examples", "detections", "pictures")
"""What of a score's provenance names files of this machine's cache."""


def save(folder: Path, specs: Sequence[BackboneSpec], scores: Sequence[Score], artifacts: Artifacts) -> None:
    """Add the scores of `specs` to a baseline folder, one row a backbone, and freeze its pool."""
    if any(score.cut for score in scores):
        raise UsageError("scores of --bob-limit or --bob-max-steps are no baselines; run without them")
    recipes = {spec.name: recipe for spec in specs if (recipe := recipe_of(spec))}
    add(folder, [row_of(spec, scores) for spec in specs], scores, artifacts, recipes)


def add(
    folder: Path,
    rows: Sequence[BackboneRow],
    scores: Sequence[Score],
    artifacts: Artifacts,
    pretraining: Mapping[str, Any] = {},
) -> None:
    """Replace the rows of those backbones in a folder by what was measured now, and freeze the pool."""
    known = (folder / "scores.csv").is_file()
    kept = {(s.backbone, *s.measure): s for s in (read_scores(folder) if known else [])}
    lines = {**(read_backbones(folder) if known else {}), **{row.name: row for row in rows}}
    by_name: dict[str, dict[tuple[str, str], Score]] = {}
    for score in scores:
        by_name.setdefault(score.backbone, {})[score.measure] = score
    fresh: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    texts: dict[tuple[str, str], Mapping[str, np.ndarray]] = {}
    for row in rows:
        runs = [by_name.get(name, {}) for name in names_of(row)]
        for measure in runs[0]:
            found = [run[measure] for run in runs if measure in run]
            if len(found) < len(runs):
                continue
            kept[row.name, *measure] = merged(row.name, found, pretraining.get(row.name))
            arrays = [a for s in found if (a := _examples_of(s, artifacts)) is not None]
            if len(arrays) == len(found):
                fresh.setdefault(measure, {})[row.name] = np.mean([a["values"] for a in arrays], axis=0)
                texts[measure] = arrays[0]
    for measure, values in fresh.items():
        _add_examples(folder, measure, values, texts[measure])
    counted = {
        name: replace(line, **counts([score for (own, *_), score in kept.items() if own == name]))
        for name, line in lines.items()
    }
    write_folder(folder, list(kept.values()), counted.values())
    for path in {folder / "pool.json", *folder.glob("pool-*.json")}:
        freeze_pool(path)


def names_of(row: BackboneRow) -> list[str]:
    """The names under which a row's backbones were measured: its own, or the SPEC of each seed."""
    specs = row.specs.split()
    return specs if len(specs) > 1 else [row.name]


def row_of(spec: BackboneSpec, scores: Iterable[Score]) -> BackboneRow:
    """The line of backbones.csv for one backbone, with what the zoo or its pretraining record knows."""
    mine = [score for score in scores if score.backbone == spec.name]
    random = spec.scheme == "random"
    found = known_row(spec.name, mine) or BackboneRow(
        spec.name, "candidate", spec.text, family=spec.target.split(".")[0]
    )
    recipe = recipe_of(spec)
    if recipe:
        method = str(recipe.get("method", ""))
        found = replace(found, method=method, data=str(recipe.get("data", "")), style=_STYLES.get(method, ""))
    if random:
        found = replace(found, role="reference", label="", why="random initialisation", **RANDOM_INIT)
    return replace(found, specs=spec.text)


def merged(name: str, found: Sequence[Score], recipe: Mapping[str, Any] | None) -> Score:
    """One score from those of several seeds: the mean; the standard error is that of its examples, averaged."""
    first = found[0]
    provenance = cast(Provenance, {key: value for key, value in first.provenance.items() if key not in _CACHED})
    if recipe:
        provenance["pretraining"] = dict(recipe)
    if len(found) == 1:
        return replace(first, backbone=name, provenance=provenance)
    provenance["mean_of"] = [
        {"backbone": s.backbone, "backbone_fingerprint": s.backbone_fingerprint, "value": s.value} for s in found
    ]
    errors = [s.provenance["stderr"] for s in found if "stderr" in s.provenance]
    if errors:
        provenance["stderr"] = float(np.sqrt(np.mean(np.square(errors))))
    return replace(
        first,
        backbone=name,
        value=float(np.mean([s.value for s in found])),
        backbone_fingerprint=digest([s.backbone_fingerprint for s in found]),
        provenance=provenance,
    )


def unmerged(score: Score) -> list[Score]:
    """The scores of each seed that a row is the mean of, or the score itself."""
    parts = score.provenance.get("mean_of")
    return [replace(score, **part) for part in parts] if parts else [score]


def _add_examples(
    folder: Path, measure: tuple[str, str], values: Mapping[str, np.ndarray], texts: Mapping[str, np.ndarray]
) -> None:
    """Add per-example values to those of the folder, which are dropped where they are of other examples."""
    ids, clusters = (tuple(texts[key].tobytes().decode().split("\n")) for key in ("ids", "clusters"))
    before = read_examples(folder, *measure)
    kept = dict(before.values) if before is not None and before.ids == ids else {}
    write_examples(folder, *measure, PerExampleValues(ids, clusters, {**kept, **values}))


def _examples_of(score: Score, artifacts: Artifacts) -> Mapping[str, np.ndarray] | None:
    where = score.provenance.get("examples")
    return artifacts.peek(where["kind"], where["key"]) if where else None


def recipe_of(spec: BackboneSpec) -> dict[str, Any]:
    """What stands in the JSON file beside a checkpoint, as `benchmarks/pretrain.py` writes it."""
    path = Path(spec.path).with_suffix(".json") if spec.path else None
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in found.items() if k != "spec"} if isinstance(found, dict) else {}
