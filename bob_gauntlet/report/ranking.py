"""The ranking of backbones in a pool: z per task, All, rank with its interval, coverage. Numbers only; no layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bob_gauntlet import baseline, stats
from bob_gauntlet.artifacts import Artifacts
from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.errors import UsageError
from bob_gauntlet.pools import MeasureKey, Pool
from bob_gauntlet.scores import METRICS, Score, difference
from bob_gauntlet.settings import IN_ALL, TASKS, find, ranked_measures

SEED = 0
"""Of the bootstrap: the same scores give the same interval."""


@dataclass(frozen=True)
class Row:
    """One backbone in a ranking."""

    backbone: str
    # place by All, or by the one task that was asked for; None where it has no value
    rank: int | None
    # the ranks that hold 95% of the bootstrap draws over test examples
    interval: tuple[int, int] | None
    # "All" and task -> mean z; None where nothing was measured
    z: Mapping[str, float | None]
    # measures with a value, of those that the ranking is over
    measured: int
    measures: int
    mean_rank: float | None
    # number of the group that cannot be told from its leader; 0 without a value
    group: int
    own: bool
    # the pool's member that this one is, "" for none
    member: str

    @property
    def coverage(self) -> float:
        """Share of the measures that have a value."""
        return self.measured / self.measures if self.measures else 0.0


@dataclass(frozen=True)
class Ranking:
    """Rows, best first, the measures that they rest on, and what a reader has to know."""

    pool: str
    scale: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    measures: tuple[MeasureKey, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Entrant:
    name: str
    scores: Mapping[MeasureKey, Score]
    own: bool
    member: str


def rank(
    pool: Pool,
    own: Mapping[str, Sequence[Score]] | None = None,
    *,
    task: str | None = None,
    members: bool = False,
    only_measured: bool = False,
    artifacts: Artifacts | None = None,
) -> Ranking:
    """Rank the pool's candidates (or all its members) and the backbones `own`.

    Own scores that may not be compared with the pool's are left out, and a note names the field that differs. With
    `only_measured` the ranking is over the measures that the own backbones have. `artifacts` holds their per-example
    values. Raises UsageError for an unknown task.
    """
    if task is not None and task not in TASKS:
        raise UsageError(f"unknown task {task!r}; tasks are {', '.join(TASKS)}")
    notes: list[str] = []
    mine = {name: _comparable(scores, pool, notes) for name, scores in (own or {}).items()}
    entrants = _entrants(pool, mine, own or {}, members=members)
    wanted = [m for m in ranked_measures(pool.scale, task) if m in pool.references]
    if only_measured and mine:
        wanted = [m for m in wanted if any(m in scores for scores in mine.values())]
    for setting, metric in wanted:
        if reason := pool.references[setting, metric].reason:
            notes.append(f"{setting} {metric} has no z-score: {reason}")
    columns = _columns(wanted, task)
    table = _Table(pool, entrants, wanted, columns, artifacts)
    if note := table.settings_note():
        notes.append(note)
    return Ranking(pool.name, pool.scale, tuple(columns), table.rows(), tuple(wanted), tuple(dict.fromkeys(notes)))


def _comparable(scores: Sequence[Score], pool: Pool, notes: list[str]) -> dict[MeasureKey, Score]:
    kept = {}
    for score in scores:
        other = pool.example_of(score.measure)
        if other is None or not find(score.setting).measure(score.metric).ranked:
            continue
        if field := difference(score, other):
            notes.append(
                f"{score.setting} of {score.backbone} is not ranked: {field} differs from that of pool {pool.name}"
            )
        else:
            kept[score.measure] = score
    return kept


def _entrants(
    pool: Pool,
    mine: Mapping[str, Mapping[MeasureKey, Score]],
    own: Mapping[str, Sequence[Score]],
    *,
    members: bool,
) -> list[_Entrant]:
    fingerprints = {
        score.backbone_fingerprint: name
        for name, scores in pool.scores.items()
        for score in scores.values()
        if score.backbone_fingerprint
    }
    twins = {name: fingerprints.get(own[name][0].backbone_fingerprint, "") if own[name] else "" for name in mine}
    found = [_Entrant(name, scores, True, twins[name]) for name, scores in mine.items()]
    for name in pool.members if members else pool.candidates:
        if name not in twins.values():
            shown = f"{name} (pool)" if name in mine else name
            scores = pool.scores.get(name, {})
            current = {m: s for m, s in scores.items() if s.protocol_hash == pool.protocol_hashes.get(m)}
            found.append(_Entrant(shown, current, False, name))
    return found


def _columns(measures: Sequence[MeasureKey], task: str | None) -> dict[str, list[int]]:
    """ "All" and every task -> positions of its measures; one task alone where it was asked for."""
    tasks = [find(setting).measure(metric).task for setting, metric in measures]
    columns = {} if task else {"All": [i for i, t in enumerate(tasks) if t in IN_ALL]}
    return columns | {t: [i for i, own in enumerate(tasks) if own == t] for t in TASKS if t in tasks}


class _Table:
    """Values, z-scores and draws of entrants (B) by measures (M)."""

    def __init__(
        self,
        pool: Pool,
        entrants: Sequence[_Entrant],
        measures: Sequence[MeasureKey],
        columns: Mapping[str, list[int]],
        artifacts: Artifacts | None,
    ) -> None:
        self.pool, self.entrants, self.measures, self.columns = pool, entrants, measures, columns
        self.artifacts = artifacts
        # the column that ranks: All, or the one task
        self.ranking = next(iter(columns.values()), [])
        self.values = np.array(
            [[e.scores[m].value if m in e.scores else np.nan for m in measures] for e in entrants], np.float64
        ).reshape(len(entrants), len(measures))
        self.z = np.stack([self._z(i, self.values[:, i]) for i in range(len(measures))], 1) if measures else self.values

    def rows(self) -> tuple[Row, ...]:
        """Best first; those without a value last."""
        if not self.entrants:
            return ()
        overall = stats.mean_z(self.z[:, self.ranking])
        draws = self._draws()
        places, intervals = stats.ranks(overall), stats.interval(stats.ranks(draws))
        groups = stats.tie_groups(overall, draws)
        each = stats.ranks(self.z[:, self.ranking], axis=0)
        mean_rank = -stats.mean_z(-each)
        rows = [
            Row(
                backbone=e.name,
                rank=None if np.isnan(places[i]) else int(places[i]),
                interval=None
                if np.isnan(intervals[i]).any()
                else (int(intervals[i][0]), int(np.ceil(intervals[i][1]))),
                z={name: _number(stats.mean_z(self.z[i, columns])) for name, columns in self.columns.items()},
                measured=int(np.isfinite(self.values[i, self.ranking]).sum()),
                measures=len(self.ranking),
                mean_rank=_number(mean_rank[i]),
                group=int(groups[i]),
                own=e.own,
                member=e.member,
            )
            for i, e in enumerate(self.entrants)
        ]
        return tuple(sorted(rows, key=lambda row: (row.rank is None, row.rank or 0, row.backbone)))

    def settings_note(self) -> str:
        """What the choice of settings leaves open; "" where nothing is ranked."""
        if not self.ranking:
            return ""
        sources = [CATALOG[self.measures[i][0].rpartition("@")[2]].source for i in self.ranking]
        found = stats.settings_interval(self.z[:, self.ranking], sources, np.random.default_rng(SEED))
        if found is None:
            return f"choice of settings: too few datasets for an interval ({len(set(sources))} sources, 4 are needed)"
        widest = float(np.nanmax(found[:, 1] - found[:, 0]))
        return f"choice of settings: mean z moves within up to {widest:.2f} when datasets are resampled"

    def _z(self, index: int, values: np.ndarray) -> np.ndarray:
        measure = self.measures[index]
        return self.pool.references[measure].z(values, METRICS[measure[1]].sign)

    def _draws(self) -> np.ndarray:
        """(draws, B) of the ranking column, over test examples."""
        rng = np.random.default_rng(SEED)
        drawn = [self._z(i, self._measure_draws(i, rng)) for i in self.ranking]
        if not drawn:
            return np.full((stats.DRAWS, len(self.entrants)), np.nan)
        return stats.mean_z(np.stack(drawn, axis=-1))

    def _measure_draws(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """(draws, B) of one measure: the same examples for all that have them, else from standard errors."""
        measure = self.measures[index]
        stderr = [
            e.scores[measure].provenance.get("stderr", np.nan) if measure in e.scores else 0 for e in self.entrants
        ]
        draws = stats.normal_draws(self.values[:, index], np.asarray(stderr, np.float64), rng)
        stored = baseline.read_examples(self.pool.folder, *measure)
        if stored is None:
            return draws
        aligned = {i: v for i, e in enumerate(self.entrants) if (v := self._examples(e, measure, stored)) is not None}
        if aligned:
            draws[:, list(aligned)] = stats.cluster_draws(np.stack(list(aligned.values())), stored.clusters, rng)
        return draws

    def _examples(self, entrant: _Entrant, measure: MeasureKey, stored: baseline.Examples) -> np.ndarray | None:
        """Per-example values in the order of the pool's, None where they are not the same examples."""
        if not entrant.own:
            return stored.values.get(entrant.member) if measure in entrant.scores else None
        where = entrant.scores[measure].provenance.get("examples") if measure in entrant.scores else None
        arrays = self.artifacts.peek(where["kind"], where["key"]) if where and self.artifacts else None
        if arrays is None or tuple(arrays["ids"].tobytes().decode().split("\n")) != stored.ids:
            return None
        return arrays["values"]


def _number(value: np.ndarray | float) -> float | None:
    return None if np.isnan(value) else float(value)
