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
from bob_gauntlet.pools.folder import BackboneRow, counts, known_row
from bob_gauntlet.pools.pool import MeasureKey, Pool
from bob_gauntlet.scores.score import METRICS, Score, difference
from bob_gauntlet.scores.settings import IN_ALL, SETTINGS, TASKS, find_setting, ranked_measures
from bob_gauntlet.stats import zscores

ALL = "All"
"""The column over every ranked measure of the paper's six tasks."""


MIN_COVERAGE = 1 / 3
"""Coverage below which a backbone is listed apart: All is a claim about many tasks."""


@dataclass(frozen=True)
class ScoredBackbone:
    """One backbone in a table: a member of the pool, one of the user's own, or both."""

    name: str
    scores: Mapping[MeasureKey, Score]
    # marked in tables: a backbone of the user, or a member of the pool that the user named
    highlighted: bool
    # the pool's member that this one is, "" for none
    member: str
    about: BackboneRow

    @property
    def title(self) -> str:
        """What a table shows."""
        return self.about.title


@dataclass(frozen=True)
class Indicative:
    """A score that stands beside the pool's and is not ranked, with what differs."""

    backbone: str
    score: Score
    z: float
    why: str


@dataclass(frozen=True)
class ScoreTable:
    """Entrants (B) by measures (M)."""

    pool: Pool
    backbones: tuple[ScoredBackbone, ...]
    measures: tuple[MeasureKey, ...]
    notes: tuple[str, ...] = ()
    indicative: tuple[Indicative, ...] = ()
    # the one task that was asked for, None for all of them
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
        """The pool's candidates (or all its members) and the backbones `own`, over the pool's ranked measures.

        With `only_measured` over those measures only that the own backbones have. `highlight` marks members as the
        user's own. Raises UsageError for an unknown task, and for a backbone that was measured at another scale only.
        """
        if task is not None and task not in TASKS:
            raise UsageError(f"unknown task {task!r}; tasks are {', '.join(TASKS)}")
        notes: list[str] = []
        indicative: list[Indicative] = []
        mine = {
            name: _comparable(name, scores, pool, notes, indicative) for name, scores in (user_scores or {}).items()
        }
        backbones = _entrants(pool, mine, user_scores or {}, members=members, highlight=highlighted_members)
        wanted = [m for m in ranked_measures(pool.scale, task) if m in pool.references]
        if only_measured and mine:
            wanted = [m for m in wanted if any(m in scores for scores in mine.values())]
        for setting, metric in wanted:
            if reason := pool.references[setting, metric].reason:
                notes.append(f"{setting} {metric} has no z-score: {reason}")
        return cls(pool, tuple(backbones), tuple(wanted), tuple(dict.fromkeys(notes)), tuple(indicative), task)

    @cached_property
    def values(self) -> np.ndarray:
        """(B, M), NaN where nothing was measured."""
        rows = [[e.scores[m].value if m in e.scores else np.nan for m in self.measures] for e in self.backbones]
        return np.array(rows, np.float64).reshape(len(self.backbones), len(self.measures))

    @cached_property
    def z(self) -> np.ndarray:
        """(B, M), higher is better whatever the metric."""
        columns = [self.z_of(i, self.values[:, i]) for i in range(len(self.measures))]
        return np.stack(columns, axis=1) if columns else self.values

    def z_of(self, index: int, values: np.ndarray) -> np.ndarray:
        """z-scores of values of one measure, of any shape."""
        measure = self.measures[index]
        return self.pool.references[measure].z(values, METRICS[measure[1]].sign)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The task of every measure."""
        return tuple(find_setting(setting).measure(metric).task for setting, metric in self.measures)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The pool of images that every measure's dataset is made from: one cluster when settings are drawn."""
        return tuple(CATALOG[setting.rpartition("@")[2]].source for setting, _ in self.measures)

    @cached_property
    def columns(self) -> dict[str, list[int]]:
        """ "All" and every task to the positions of its measures, those without any left out; one task has no All."""
        whole = [i for i, task in enumerate(self.tasks) if task in IN_ALL] if self.task is None else []
        return ({ALL: whole} if whole else {}) | {
            task: [i for i, own in enumerate(self.tasks) if own == task] for task in TASKS if task in self.tasks
        }

    def mean_z(self, column: str) -> np.ndarray:
        """(B,) mean z over a task's measures, or over all; NaN where a backbone has none."""
        return zscores.mean_z(self.z[:, self.columns[column]])

    def coverage(self, column: str) -> np.ndarray:
        """(B,) share of a task's measures that a backbone has; for All the mean of that over the tasks."""
        present = np.isfinite(self.values)
        tasks = [column] if column != ALL else [task for task in IN_ALL if task in self.columns]
        return np.asarray(np.mean([present[:, self.columns[task]].mean(axis=1) for task in tasks], axis=0))


def _comparable(
    name: str, scores: Sequence[Score], pool: Pool, notes: list[str], indicative: list[Indicative]
) -> dict[MeasureKey, Score]:
    """The scores that may stand in the pool's table; the others are noted."""
    if scores and all(score.scale != pool.scale for score in scores):
        scale = scores[0].scale
        raise UsageError(
            f"{name} was measured at {scale} scale, and pool {pool.name} holds {pool.scale}-scale scores: other data "
            f"and budgets, never compared; rank it in a pool of its scale (--pool {scale}), or run the suites with "
            f"--scale {pool.scale}"
        )
    kept, ranked = {}, set(ranked_measures(pool.scale))
    left_out: dict[str, list[str]] = {}
    for score in (s for s in scores if s.scale == pool.scale):
        other = pool.comparable_score(score.measure)
        if score.setting not in SETTINGS:
            left_out.setdefault("datasets of your own are measured only", []).append(score.setting)
        if other is None or score.measure not in ranked:
            continue
        differs = difference(score, other)
        if differs == "fidelity":
            z = pool.references[score.measure].z(np.array(score.value), METRICS[score.metric].sign)
            indicative.append(Indicative(name, score, float(z), FIDELITIES[score.fidelity]))
        elif differs:
            cut = f" ({score.cut})" if differs in ("limit", "max_steps") and score.cut else ""
            left_out.setdefault(f"{differs} differs from that of pool {pool.name}{cut}", []).append(score.setting)
        else:
            kept[score.measure] = score
    notes += [
        f"{named(dict.fromkeys(which), most=4)} of {name}: not ranked, since {why}" for why, which in left_out.items()
    ]
    return kept


FIDELITIES = {
    "sound": "hyper-parameters chosen on a validation part and the test split touched once, own normalisation; the "
    "pool's: chosen on the split that is reported",
    "paper": "hyper-parameters chosen on the split that is reported, as in the paper; the pool's: on a validation part",
}
"""What a fidelity does otherwise than the other one."""


def _entrants(
    pool: Pool,
    mine: Mapping[str, Mapping[MeasureKey, Score]],
    own: Mapping[str, Sequence[Score]],
    *,
    members: bool,
    highlight: Sequence[str],
) -> list[ScoredBackbone]:
    fingerprints = {
        score.backbone_fingerprint: name
        for name, scores in pool.scores.items()
        for score in scores.values()
        if score.backbone_fingerprint
    }
    twins = {name: fingerprints.get(own[name][0].backbone_fingerprint, "") if own[name] else "" for name in mine}
    found = [
        ScoredBackbone(name, scores, True, twins[name], _own_row(name, own[name], pool.backbones.get(twins[name])))
        for name, scores in mine.items()
    ]
    for name in pool.members if members else [*pool.candidates, *(n for n in highlight if n not in pool.candidates)]:
        if name not in twins.values():
            scores = pool.scores.get(name, {})
            current = {m: s for m, s in scores.items() if s.protocol_hash == pool.protocol_hashes.get(m)}
            shown = f"{name} (pool)" if name in mine else name
            about = _row_of(shown, pool.backbones.get(name), label=name not in mine)
            found.append(ScoredBackbone(shown, current, name in highlight, name, about))
    return found


def _own_row(name: str, scores: Sequence[Score], twin: BackboneRow | None) -> BackboneRow:
    """What is known of a backbone of the user: as the member that it is, as the zoo's, or its counts alone."""
    found = _row_of(name, twin) if twin else known_row(name, scores) or BackboneRow(name, "candidate", name)
    return replace(found, label="", **counts(scores))


def _row_of(name: str, known: BackboneRow | None, *, label: bool = False) -> BackboneRow:
    """What is known of a backbone under the name that it has here; a label only where it is the pool's own."""
    if known is None:
        return BackboneRow(name, "candidate", name)
    return replace(known, name=name, label=known.label if label else "")
