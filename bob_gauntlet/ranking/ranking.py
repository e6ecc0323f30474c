"""The ranking of backbones in a pool: mean z per task, rank with its intervals, ties, coverage. Numbers; no layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bob_gauntlet.pools.errata import ErratumNote
from bob_gauntlet.pools.folder import PerExampleValues, read_examples
from bob_gauntlet.pools.pool import MeasureKey, Pool
from bob_gauntlet.ranking.score_table import MIN_COVERAGE, Indicative, ScoredBackbone, ScoreTable
from bob_gauntlet.ranking.stability import stability_note
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.scores.score import Score
from bob_gauntlet.stats import resampling, zscores
from bob_gauntlet.stats.resampling import ClusterWeights

SEED = 0
"""Of the bootstrap: the same scores give the same interval."""


@dataclass(frozen=True)
class RankingRow:
    """One backbone in a ranking."""

    # as typed, and as shown
    backbone: str
    title: str
    # place by All, or by the one task that was asked for; None where it has no value or is listed apart
    rank: int | None
    # the ranks that hold 95% of the bootstrap draws over test examples; None where there are no examples
    interval: tuple[int, int] | None
    # mean z in 95% of the draws over datasets; None with fewer than four of them
    settings_interval: tuple[float, float] | None
    # "All" and task -> mean z; None where nothing was measured
    z: Mapping[str, float | None]
    # beside the mean, over the same measures
    median_z: float | None
    iqm_z: float | None
    mean_rank: float | None
    # share of the meetings with others that it wins, ties half
    win_rate: float | None
    # measures with a value, of those that the ranking is over
    measured: int
    measures: int
    # share of the measures, for All averaged over the tasks
    coverage: float
    # whether it has a mean z, but covers too few measures to be ranked (JSON key and CSV column: "apart")
    below_min_coverage: bool
    # number of the group that cannot be told from its leader; 0 where nothing tells
    group: int
    # whether it is marked in tables: the user's own, or a member that the user named (JSON key and CSV column: "own")
    highlighted: bool
    # the pool's member that this one is, "" for none
    member: str


@dataclass(frozen=True)
class Ranking:
    """Rows, best first, then those listed apart; the measures that they rest on, and what a reader has to know."""

    pool: str
    pool_hash: str
    scale: str
    columns: tuple[str, ...]
    rows: tuple[RankingRow, ...]
    measures: tuple[MeasureKey, ...]
    notes: tuple[str, ...]
    errata: tuple[ErratumNote, ...]
    indicative: tuple[Indicative, ...]
    # whether draws over test examples, and over datasets, say anything here
    has_example_intervals: bool
    has_settings_intervals: bool


def rank(
    pool: Pool,
    user_scores: Mapping[str, Sequence[Score]] | None = None,
    *,
    task: str | None = None,
    members: bool = False,
    only_measured: bool = False,
    highlighted_members: Sequence[str] = (),
    min_coverage: float = MIN_COVERAGE,
    artifacts: Artifacts | None = None,
) -> Ranking:
    """Rank the pool's candidates (or all its members) and the backbones `own`; see Standing.of for the arguments.

    Backbones with a coverage below `min_coverage` come last, without rank. `artifacts` holds the per-example values of
    the own backbones.
    """
    score_table = ScoreTable.from_pool(
        pool,
        user_scores,
        task=task,
        members=members,
        only_measured=only_measured,
        highlighted_members=highlighted_members,
    )
    return RankingStatistics(score_table, artifacts, min_coverage).build_ranking()


class RankingStatistics:
    """The entrants of a standing by their mean z in its first column, and how sure that is."""

    def __init__(self, score_table: ScoreTable, artifacts: Artifacts | None, min_coverage: float = 0.0) -> None:
        self.score_table, self.artifacts = score_table, artifacts
        self.column = next(iter(score_table.columns), "")
        self.measure_indices = score_table.columns.get(self.column, [])
        self.z = score_table.z[:, self.measure_indices]
        nothing = np.zeros(len(score_table.backbones))
        self.coverage = score_table.coverage(self.column) if self.measure_indices else nothing
        self.overall = zscores.mean_z(self.z)
        # who is ranked: covered enough, and with a value
        self.ranked = (self.coverage >= min_coverage) & np.isfinite(self.overall)

    def build_ranking(self) -> Ranking:
        """The rows with what they rest on."""
        score_table, pool = self.score_table, self.score_table.pool
        shown = {setting for setting, _ in score_table.measures}
        return Ranking(
            pool=pool.name,
            pool_hash=pool.hash,
            scale=pool.scale,
            columns=tuple(score_table.columns),
            rows=self.rows(),
            measures=score_table.measures,
            notes=(*score_table.notes, *self.notes()),
            errata=tuple(note for note in pool.errata if shown & note.settings),
            indicative=score_table.indicative,
            has_example_intervals=self.spread,
            has_settings_intervals=bool(np.isfinite(self.settings_intervals).any()),
        )

    def rows(self) -> tuple[RankingRow, ...]:
        """Best first; those that are not ranked last."""
        if not self.score_table.backbones:
            return ()
        overall = np.where(self.ranked, self.overall, np.nan)
        places = zscores.ranks(overall)
        intervals = stats_of_ranks(np.where(self.ranked, self.draws, np.nan)) if self.spread else None
        groups = self._groups(overall)
        details = {
            "median_z": zscores.median_z(self.z),
            "iqm_z": zscores.iqm(self.z),
            "mean_rank": -zscores.mean_z(-zscores.ranks(self.z, axis=0)),
            "win_rate": zscores.win_rate(self.z),
        }
        columns = {name: self.score_table.mean_z(name) for name in self.score_table.columns}
        rows = [
            RankingRow(
                backbone=e.name,
                title=e.title,
                rank=None if np.isnan(places[i]) else int(places[i]),
                interval=None if intervals is None or np.isnan(places[i]) else intervals[i],
                settings_interval=_pair(self.settings_intervals[i]),
                z={name: _number(values[i]) for name, values in columns.items()},
                **{name: _number(values[i]) for name, values in details.items()},
                measured=int(np.isfinite(self.z[i]).sum()),
                measures=len(self.measure_indices),
                coverage=float(self.coverage[i]),
                below_min_coverage=bool(np.isfinite(self.overall[i]) and not self.ranked[i]),
                group=int(groups[i]),
                highlighted=e.highlighted,
                member=e.member,
            )
            for i, e in enumerate(self.score_table.backbones)
        ]
        return tuple(
            sorted(
                rows, key=lambda r: (r.rank or np.inf, not r.below_min_coverage, -(r.z.get(self.column) or 0), r.title)
            )
        )

    def notes(self) -> list[str]:
        """What the two uncertainties and the pool leave open; nothing where nothing is ranked."""
        if not self.measure_indices or not self.ranked.any():
            return []
        return [*self._uncertainty_notes(), *stability_note(self.score_table, self.column, self.ranked)]

    def _uncertainty_notes(self) -> list[str]:
        sources = len({self.score_table.sources[i] for i in self.measure_indices})
        found = []
        if not self.spread:
            found.append("test examples: no interval, since these scores come without per-example values")
        if not np.isfinite(self.settings_intervals).any():
            found.append(
                f"choice of settings: too few datasets for an interval ({sources} source{'s' * (sources != 1)}, "
                f"{resampling.FEWEST_CLUSTERS} are needed)"
            )
        return found

    @cached_property
    def weights(self) -> ClusterWeights:
        """Draws of datasets."""
        sources = [self.score_table.sources[i] for i in self.measure_indices]
        return ClusterWeights(sources, np.random.default_rng(SEED))

    @cached_property
    def settings_intervals(self) -> np.ndarray:
        """(B, 2) of mean z over draws of datasets."""
        return resampling.settings_interval(self.z, self.weights)

    @cached_property
    def draws(self) -> np.ndarray:
        """(draws, B) of mean z over draws of test examples."""
        rng = np.random.default_rng(SEED)
        total = np.zeros((resampling.DRAWS, len(self.score_table.backbones)))
        for index in self.measure_indices:
            drawn = self.score_table.z_of(index, self._measure_draws(index, rng))
            total += np.nan_to_num(drawn)
        count = np.isfinite(self.z).sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @cached_property
    def spread(self) -> bool:
        """Whether the scores come with an uncertainty over test examples."""
        return bool(len(self.draws) and (np.ptp(self.draws[:, self.ranked], axis=0) > 1e-12).any())

    def told_apart(self, leader: int, other: int) -> list[bool]:
        """Whether each uncertainty that says anything here tells the two apart."""
        has_example_intervals = resampling.apart_by_examples(self.draws, leader, other) if self.spread else None
        has_settings_intervals = resampling.apart_by_settings(self.z, self.weights, leader, other)
        return [answer for answer in (has_example_intervals, has_settings_intervals) if answer is not None]

    def _groups(self, overall: np.ndarray) -> np.ndarray:
        """Tie groups: two are told apart where every uncertainty that says anything says so."""
        if not self.spread and not np.isfinite(self.settings_intervals).any():
            return np.zeros(len(overall), np.int64)
        return resampling.tie_groups(overall, lambda a, b: bool(found := self.told_apart(a, b)) and all(found))

    def _measure_draws(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """(draws, B) of one measure: the same examples for all that have them, else from standard errors."""
        measure, backbones = self.score_table.measures[index], self.score_table.backbones
        stderr = [e.scores[measure].provenance.get("stderr", np.nan) if measure in e.scores else 0 for e in backbones]
        draws = resampling.normal_draws(self.score_table.values[:, index], np.asarray(stderr, np.float64), rng)
        stored = read_examples(self.score_table.pool.folder, *measure)
        if stored is None:
            return draws
        aligned = {i: v for i, e in enumerate(backbones) if (v := self._examples(e, measure, stored)) is not None}
        if aligned:
            draws = np.array(draws)
            draws[:, list(aligned)] = resampling.cluster_draws(np.stack(list(aligned.values())), stored.clusters, rng)
        return draws

    def _examples(self, backbone: ScoredBackbone, measure: MeasureKey, stored: PerExampleValues) -> np.ndarray | None:
        """Per-example values in the order of the pool's, None where they are not the same examples."""
        if measure not in backbone.scores:
            return None
        where = backbone.scores[measure].provenance.get("examples")
        if where is None:
            return stored.values.get(backbone.member)
        arrays = self.artifacts.peek(where["kind"], where["key"]) if self.artifacts else None
        if arrays is None or tuple(arrays["ids"].tobytes().decode().split("\n")) != stored.ids:
            return None
        return arrays["values"]


def stats_of_ranks(draws: np.ndarray) -> list[tuple[int, int]]:
    """(draws, B) of mean z to the ranks that hold 95% of the draws."""
    found = resampling.interval(zscores.ranks(draws))
    return [(int(low), int(np.ceil(high))) if np.isfinite(low) else (0, 0) for low, high in found]


def _pair(values: np.ndarray) -> tuple[float, float] | None:
    return None if np.isnan(values).any() else (float(values[0]), float(values[1]))


def _number(value: np.ndarray | float) -> float | None:
    return None if np.isnan(value) else float(value)
