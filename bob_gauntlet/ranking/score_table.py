"""Backbones by measures: the table of values and z-scores that rankings, analyses and reports are made from.

`ScoreTable.from_pool` puts the members of a pool and the user's backbones into one table. Scores that must not be
compared are left out, and a note gives the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.errors import UsageError, named
from bob_gauntlet.pools.folder import BackboneRow, params_and_gflops, row_from_zoo
from bob_gauntlet.pools.pool import MeasureKey, Pool
from bob_gauntlet.scores.score import INPUT_SIZE, METRICS, Score, device_kind, difference, input_pixels
from bob_gauntlet.scores.settings import IN_ALL, SETTINGS, TASKS, find_setting, ranked_measures
from bob_gauntlet.stats import zscores

ALL = "All"
"""The column over every ranked measure of the paper's six tasks."""

MINI_SCALE_NOTE = "mini scale: shows that everything works; it does not judge backbones"
"""The line that stands under every table of mini scores."""

MIN_COVERAGE = 1 / 3
"""Backbones with a lower coverage are listed separately and not ranked: All must rest on many tasks."""


@dataclass(frozen=True)
class ScoredBackbone:
    """One backbone in a score table: a member of the pool, a backbone of the user, or both."""

    name: str
    scores: Mapping[MeasureKey, Score]
    # whether tables mark it: a backbone of the user, or a member of the pool that the user named
    highlighted: bool
    # the pool's member with the same weights; "" for none
    member: str
    about: BackboneRow

    @property
    def title(self) -> str:
        """The name that tables show."""
        return self.about.title


@dataclass(frozen=True)
class Indicative:
    """A score that is shown beside the pool's scores but not ranked, because something differs."""

    backbone: str
    score: Score
    z: float
    # what differs
    why: str


@dataclass(frozen=True)
class ScoreTable:
    """Scores of backbones (B) by measures (M)."""

    pool: Pool
    backbones: tuple[ScoredBackbone, ...]
    measures: tuple[MeasureKey, ...]
    notes: tuple[str, ...] = ()
    indicative: tuple[Indicative, ...] = ()
    # the one task that the table is restricted to; None for all tasks
    task: str | None = None

    @classmethod
    def from_pool(
        cls,
        pool: Pool,
        user_scores: Mapping[str, Sequence[Score]] | None = None,
        *,
        task: str | None = None,
        members: bool = False,
        only_measured: bool = False,
        highlighted_members: Sequence[str] = (),
    ) -> Self:
        """Build the table of the pool's candidates and the user's backbones over the pool's ranked measures.

        `user_scores`: name of each backbone of the user -> its scores. `members`: show every member of the pool.
        `only_measured`: leave out measures that no backbone of the user has. `highlighted_members`: show and mark them.
        Raises UsageError for an unknown task, and for a backbone that was only measured at another scale.
        """
        if task is not None and task not in TASKS:
            raise UsageError(f"unknown task {task!r}; tasks are {', '.join(TASKS)}")
        notes: list[str] = list(pool.notes)
        indicative: list[Indicative] = []
        user_scores = user_scores or {}
        comparable = {n: _comparable_scores(n, scores, pool, notes, indicative) for n, scores in user_scores.items()}
        same_weights = _members_with_same_weights(pool, user_scores)
        backbones = [
            ScoredBackbone(name, comparable[name], True, member, _row_of_user(name, scores, pool.backbones.get(member)))
            for (name, scores), member in zip(user_scores.items(), same_weights, strict=True)
        ]
        shown = pool.members if members else dict.fromkeys((*pool.candidates, *highlighted_members))
        for name in shown:
            if name not in same_weights:
                highlighted = name in highlighted_members
                backbones.append(_pool_backbone(pool, name, highlighted=highlighted, is_taken=name in user_scores))
        measures = [m for m in ranked_measures(pool.scale, task) if m in pool.references]
        if only_measured and comparable:
            measures = [m for m in measures if any(m in scores for scores in comparable.values())]
        for setting, metric in measures:
            if reason := pool.references[setting, metric].reason:
                notes.append(f"{setting} {metric} has no z-score: {reason}")
        return cls(pool, tuple(backbones), tuple(measures), tuple(dict.fromkeys(notes)), tuple(indicative), task)

    @cached_property
    def values(self) -> np.ndarray:
        """(B, M) values; NaN where nothing was measured."""
        rows = [[b.scores[m].value if m in b.scores else np.nan for m in self.measures] for b in self.backbones]
        return np.array(rows, np.float64).reshape(len(self.backbones), len(self.measures))

    @cached_property
    def z(self) -> np.ndarray:
        """(B, M) z-scores; higher is better for every metric."""
        columns = [self.standardise(i, self.values[:, i]) for i in range(len(self.measures))]
        return np.stack(columns, axis=1) if columns else self.values

    def standardise(self, index: int, values: np.ndarray) -> np.ndarray:
        """Return the z-scores of values of measure number `index`, in the shape of `values`."""
        measure = self.measures[index]
        return self.pool.references[measure].z(values, METRICS[measure[1]].sign)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The task of every measure."""
        return tuple(find_setting(setting).measure(metric).task for setting, metric in self.measures)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The source of images of every measure's dataset: measures with one source are drawn together."""
        return tuple(CATALOG[setting.rpartition("@")[2]].source for setting, _ in self.measures)

    @cached_property
    def cluster_sources(self) -> tuple[str, ...]:
        """The collection of images that names the clusters of every measure's test images.

        A cluster of one name in one collection is the same photo in all measures.
        """
        return tuple(CATALOG[setting.rpartition("@")[2]].cluster_source for setting, _ in self.measures)

    @cached_property
    def columns(self) -> dict[str, list[int]]:
        """ "All" and every task -> the positions of its measures.

        Tasks without a measure are left out; a table that is restricted to one task has no "All".
        """
        in_all = [i for i, task in enumerate(self.tasks) if task in IN_ALL] if self.task is None else []
        return ({ALL: in_all} if in_all else {}) | {
            task: [i for i, task_of_measure in enumerate(self.tasks) if task_of_measure == task]
            for task in TASKS
            if task in self.tasks
        }

    def mean_z(self, column: str) -> np.ndarray:
        """Return the (B,) mean z over the measures of a column; NaN where a backbone has none of them."""
        return zscores.mean_z(self.z[:, self.columns[column]])

    def coverage(self, column: str) -> np.ndarray:
        """Return the (B,) share of a task's measures that a backbone has; for All the mean of the tasks' shares."""
        present = np.isfinite(self.values)
        tasks = [column] if column != ALL else [task for task in IN_ALL if task in self.columns]
        return np.asarray(np.mean([present[:, self.columns[task]].mean(axis=1) for task in tasks], axis=0))


def _comparable_scores(
    name: str, scores: Sequence[Score], pool: Pool, notes: list[str], indicative: list[Indicative]
) -> dict[MeasureKey, Score]:
    """Return the scores that may be ranked in the pool; append what is left out to `notes` and `indicative`.

    Raises UsageError where all scores are of another scale.
    """
    if scores and all(score.scale != pool.scale for score in scores):
        scale = scores[0].scale
        raise UsageError(
            f"{name} was measured at {scale} scale, and pool {pool.name} holds {pool.scale}-scale scores: scales "
            f"differ in data and budgets and are never compared; rank it in a pool of its scale (--pool {scale}), or "
            f"run the suites with --scale {pool.scale}"
        )
    kept, ranked = {}, set(ranked_measures(pool.scale))
    settings_by_reason: dict[str, list[str]] = {}
    for score in (s for s in scores if s.scale == pool.scale):
        pool_score = pool.comparable_score(score.measure)
        if score.setting not in SETTINGS:
            settings_by_reason.setdefault("your own datasets are in no pool", []).append(score.setting)
        if score.measure in ranked and _has_setting_without_metric(pool, score):
            reason = f"pool {pool.name} has other metrics of it only; run: bob baseline refresh {pool.name}"
            settings_by_reason.setdefault(reason, []).append(score.setting)
        if pool_score is None or score.measure not in ranked:
            continue
        differing_field = difference(score, pool_score)
        if differing_field == "fidelity":
            z = pool.references[score.measure].z(np.array(score.value), METRICS[score.metric].sign)
            indicative.append(Indicative(name, score, float(z), FIDELITIES[score.fidelity]))
        elif reason := _describe_difference(score, pool_score, pool, differing_field) or score.not_quiet:
            settings_by_reason.setdefault(reason, []).append(score.setting)
        else:
            kept[score.measure] = score
    notes += [
        f"{named(dict.fromkeys(settings), most=4)} of {name}: not ranked, because {reason}"
        for reason, settings in settings_by_reason.items()
    ]
    return kept


def _describe_difference(score: Score, pool_score: Score, pool: Pool, differing_field: str | None) -> str:
    """Return the reason why a score cannot be ranked in a pool; "" where no field differs."""
    if differing_field is None:
        return ""
    if score.partial:
        return score.partial
    if differing_field == INPUT_SIZE:
        return f"its input is {input_pixels(score)} px, the pool's {input_pixels(pool_score)} px"
    detail = ""
    if differing_field in ("limit", "max_steps") and score.cut:
        detail = f" ({score.cut})"
    elif differing_field == "device":
        detail = f" (a {device_kind(score.device).upper()} here, a {device_kind(pool_score.device).upper()} there)"
    return f"{differing_field} differs from that of pool {pool.name}{detail}"


def _has_setting_without_metric(pool: Pool, score: Score) -> bool:
    """Tell whether a pool has the setting of a score, and not its metric."""
    return score.measure not in pool.references and any(setting == score.setting for setting, _ in pool.references)


FIDELITIES = {
    "sound": "hyper-parameters chosen on a validation part, test split used once, the backbone's own normalisation; "
    "the pool's: chosen on the reported split",
    "paper": "hyper-parameters chosen on the reported split, as in the paper; the pool's: chosen on a validation part",
}
"""Fidelity of a score -> how it differs from scores of the other fidelity."""


def _pool_backbone(pool: Pool, name: str, *, highlighted: bool, is_taken: bool) -> ScoredBackbone:
    """Return a member of the pool with its scores under the frozen protocol hashes.

    It is shown as "NAME (pool)" where another backbone of the user has its name.
    """
    scores = pool.scores.get(name, {})
    current = {m: score for m, score in scores.items() if score.protocol_hash == pool.protocol_hashes.get(m)}
    shown_name = f"{name} (pool)" if is_taken else name
    row = _renamed_row(pool.backbones.get(name), shown_name, keep_label=not is_taken)
    return ScoredBackbone(shown_name, current, highlighted, name, row)


def _members_with_same_weights(pool: Pool, user_scores: Mapping[str, Sequence[Score]]) -> list[str]:
    """Return, for each backbone of the user, the pool's member with the same fingerprint; "" for none."""
    members = {
        score.backbone_fingerprint: name
        for name, scores in pool.scores.items()
        for score in scores.values()
        if score.backbone_fingerprint
    }
    return [members.get(scores[0].backbone_fingerprint, "") if scores else "" for scores in user_scores.values()]


def _row_of_user(name: str, scores: Sequence[Score], member_row: BackboneRow | None) -> BackboneRow:
    """Return what is known of a backbone of the user: from the member with its weights, else from the zoo.

    Measured numbers of parameters and GFLOPs replace theirs. Where nothing is known, only the name is given.
    """
    row = _renamed_row(member_row, name) if member_row else row_from_zoo(name, scores)
    label = next((f"{name} ({score.partial})" for score in scores if score.partial), "")
    return replace(row or BackboneRow(name, "candidate", name), label=label, **params_and_gflops(scores))


def _renamed_row(row: BackboneRow | None, name: str, *, keep_label: bool = False) -> BackboneRow:
    """Return `row` under another name, without its label unless `keep_label`; a row of the name alone for None."""
    if row is None:
        return BackboneRow(name, "candidate", name)
    return replace(row, name=name, label=row.label if keep_label else "")
