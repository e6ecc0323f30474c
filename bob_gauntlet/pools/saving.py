"""From measured scores to a baseline folder: `--bob-save`, and what `bob baseline refresh` writes.

Backbones that one row of backbones.csv lists together (the seeds of one random initialisation) become one score per
measure: the mean, with each seed's value and fingerprint in its provenance.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    params_and_gflops,
    read_backbones,
    read_examples,
    read_scores,
    row_from_zoo,
    write_examples,
    write_folder,
)
from bob_gauntlet.pools.pool import MeasureKey, freeze_pools, index_scores
from bob_gauntlet.runtime.artifacts import ArtifactRef, Artifacts, ExampleValues, digest
from bob_gauntlet.scores.provenance import Provenance
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.settings import ranked_measures

_STYLES = {"supervised": "supervised", "simclr": "self-supervised", "rotation": "self-supervised"}
"""Pretraining method of benchmarks/pretrain.py -> style."""

_FOLDERS_OF_A_MACHINE = re.compile(r"(?<![^=@:,])(?!//)(?:~[^/]*|\.\.)?/(?:[^=@:,]*/)?(?=[^=@:,])")
"""In an argument of a command: the folders of a path that is absolute, or that leaves the folder of the command."""

_CACHED = ("examples", "detections", "pictures")
"""Fields of a score's provenance that name files in this machine's cache: they are not saved."""


def save(folder: Path, specs: Sequence[BackboneSpec], scores: Sequence[Score], artifacts: Artifacts) -> None:
    """Add the scores of `specs` to a baseline folder, a row per backbone, and freeze its pools.

    Times of a machine that was not quiet are left out. Raises UsageError for scores of a part of the data, or of a
    backbone that is not whole.
    """
    if any(score.cut for score in scores):
        raise UsageError(
            "scores measured with --bob-limit or --bob-max-steps cannot be baselines; run without these options"
        )
    if partial := next((score for score in scores if score.partial), None):
        raise UsageError(
            f"scores of {partial.backbone} cannot be baselines ({partial.partial}); run without --bob-allow-partial"
        )
    recipes = {spec.name: recipe for spec in specs if (recipe := read_pretraining_recipe(spec))}
    add(folder, [make_row(spec, scores) for spec in specs], scores, artifacts, recipes)


def add(
    folder: Path,
    rows: Sequence[BackboneRow],
    scores: Sequence[Score],
    artifacts: Artifacts,
    recipes: Mapping[str, Any] = {},
) -> None:
    """Replace the scores and rows of these backbones in a baseline folder, and freeze its pools.

    `artifacts` holds the per-example values of `scores`; `recipes` maps a backbone to the recipe of its pretraining.
    Ranked times of a machine that was not quiet are left out, since the pool's mean and std would rest on them.
    """
    exists = (folder / "scores.csv").is_file()
    saved_scores = {(s.backbone, *s.measure): s for s in (read_scores(folder) if exists else [])}
    saved_rows = {**(read_backbones(folder) if exists else {}), **{row.name: row for row in rows}}
    examples: dict[MeasureKey, ExampleValues] = {}
    means: dict[MeasureKey, dict[str, np.ndarray]] = {}
    for row, measure, seeds in _complete_measures(rows, scores):
        saved_scores[row.name, *measure] = merge_seeds(row.name, seeds, recipes.get(row.name))
        by_seed = [e for score in seeds if (e := _examples_of(score, artifacts)) is not None]
        if len(by_seed) == len(seeds):
            examples[measure] = by_seed[0]
            means.setdefault(measure, {})[row.name] = np.mean([e.values for e in by_seed], axis=0)
    for measure, values_by_backbone in means.items():
        _add_examples(folder, measure, values_by_backbone, examples[measure])
    counted_rows = {
        name: replace(row, **params_and_gflops([s for (backbone, *_), s in saved_scores.items() if backbone == name]))
        for name, row in saved_rows.items()
    }
    ordered_scores = write_folder(folder, saved_scores.values(), counted_rows.values())
    freeze_pools(folder, ordered_scores, counted_rows)


def _complete_measures(
    rows: Sequence[BackboneRow], scores: Sequence[Score]
) -> Iterator[tuple[BackboneRow, MeasureKey, list[Score]]]:
    """Yield the scores of every measure that all seeds of a row have."""
    index = index_scores(score for score in scores if not is_too_noisy(score))
    for row in rows:
        runs = [index.get(name, {}) for name in measured_names(row)]
        for measure in runs[0]:
            if all(measure in run for run in runs):
                yield row, measure, [run[measure] for run in runs]


def is_too_noisy(score: Score) -> bool:
    """Tell whether a score is a ranked time of a machine that was not quiet."""
    return bool(score.not_quiet) and score.measure in ranked_measures(score.scale)


def measured_names(row: BackboneRow) -> list[str]:
    """Return the names under which the backbone of a row is measured: its name, or the spec of each of its seeds."""
    specs = row.specs.split()
    return specs if len(specs) > 1 else [row.name]


def make_row(spec: BackboneSpec, scores: Iterable[Score]) -> BackboneRow:
    """Return the row of backbones.csv for one backbone, from the zoo or its pretraining recipe."""
    scores_of_spec = [score for score in scores if score.backbone == spec.name]
    row = row_from_zoo(spec.name, scores_of_spec) or BackboneRow(
        spec.name, "candidate", spec.text, family=spec.target.split(".")[0]
    )
    recipe = read_pretraining_recipe(spec)
    if recipe:
        method = str(recipe.get("method", ""))
        row = replace(row, method=method, data=str(recipe.get("data", "")), style=_STYLES.get(method, ""))
    if spec.scheme == "random":
        row = replace(row, role="reference", label="", why="random initialisation", **RANDOM_INIT)
    return replace(row, specs=spec.text)


def merge_seeds(name: str, scores: Sequence[Score], recipe: Mapping[str, Any] | None) -> Score:
    """Return one score for the scores of several seeds: their mean.

    Its standard error is the root mean square of theirs, since all seeds are tested on the same examples.
    """
    first = scores[0]
    provenance = cast(Provenance, {key: value for key, value in first.provenance.items() if key not in _CACHED})
    if "command" in provenance:
        provenance["command"] = without_folders_of_a_machine(provenance["command"])
    if recipe:
        provenance["pretraining"] = dict(recipe)
    if len(scores) == 1:
        return replace(first, backbone=name, provenance=provenance)
    provenance["mean_of"] = [
        {"backbone": s.backbone, "backbone_fingerprint": s.backbone_fingerprint, "value": s.value} for s in scores
    ]
    errors = [s.provenance["stderr"] for s in scores if "stderr" in s.provenance]
    if errors:
        provenance["stderr"] = float(np.sqrt(np.mean(np.square(errors))))
    return replace(
        first,
        backbone=name,
        value=float(np.mean([s.value for s in scores])),
        backbone_fingerprint=digest([s.backbone_fingerprint for s in scores]),
        provenance=provenance,
    )


def without_folders_of_a_machine(command: str) -> str:
    """Return a command in which files and folders that only one machine has are named without their folders.

    >>> without_folders_of_a_machine("pytest ../../code/suites --backbone=timm:resnet50@/home/me/best.pth --bob-data=data/x")
    'pytest suites --backbone=timm:resnet50@best.pth --bob-data=data/x'
    """  # noqa: E501
    return shlex.join(_FOLDERS_OF_A_MACHINE.sub("", argument) for argument in shlex.split(command))


def split_seeds(score: Score) -> list[Score]:
    """Return the score of each seed that `merge_seeds` merged, or the score itself where it is of one seed."""
    parts = score.provenance.get("mean_of")
    return [replace(score, **part) for part in parts] if parts else [score]


def _add_examples(folder: Path, measure: MeasureKey, values: Mapping[str, np.ndarray], examples: ExampleValues) -> None:
    """Add per-example values of backbones to those of a folder; `examples` holds their ids and clusters.

    Values in the folder that are of other examples are dropped.
    """
    before = read_examples(folder, *measure)
    kept = dict(before.values) if before is not None and before.ids == examples.ids else {}
    write_examples(folder, *measure, PerExampleValues(examples.ids, examples.clusters, {**kept, **values}))


def _examples_of(score: Score, artifacts: Artifacts) -> ExampleValues | None:
    """Return the per-example values of a score from this machine's artefacts, None where they are not there."""
    reference = score.provenance.get("examples")
    arrays = ArtifactRef.from_dict(reference).read(artifacts, ExampleValues.schema()) if reference else None
    return ExampleValues.from_arrays(arrays) if arrays is not None else None


def read_pretraining_recipe(spec: BackboneSpec) -> dict[str, Any]:
    """Return the JSON file beside a checkpoint, as benchmarks/pretrain.py writes it; {} where there is none."""
    path = Path(spec.path).with_suffix(".json") if spec.path else None
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return {k: v for k, v in content.items() if k != "spec"} if isinstance(content, dict) else {}
