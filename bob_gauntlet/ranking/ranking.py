"""The ranking of backbones in a pool: mean z per task, ranks with intervals, tie groups, coverage. No layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bob_gauntlet.pools.errata import ErratumNote
from bob_gauntlet.pools.folder import PerExampleValues, read_examples
from bob_gauntlet.pools.pool import MeasureKey, Pool
from bob_gauntlet.ranking.score_table import MIN_COVERAGE, Indicative, ScoredBackbone, ScoreTable
from bob_gauntlet.ranking.stability import stability_note
from bob_gauntlet.runtime.artifacts import ArtifactRef, Artifacts, ExampleValues
from bob_gauntlet.runtime.packing import unpack_names
from bob_gauntlet.scores.score import Score
from bob_gauntlet.stats import resampling, zscores
from bob_gauntlet.stats.resampling import ClusterWeights

SEED = 0
"""Seed of the bootstrap: the same scores give the same intervals."""


@dataclass(frozen=True)
class RankingRow:
    """One backbone in a ranking.

    The JSON output holds these fields under the same keys, two of them under older ones: "own" for `highlighted`,
    "apart" for `below_min_coverage`.
    """

    # the name as typed after --backbone, and the title that tables show
    backbone: str
    title: str
    # rank by All, or by the one task that the ranking is restricted to; None for a backbone that is not ranked
    rank: int | None
    # the ranks that hold 95% of the bootstrap draws over test examples; None without such draws
    interval: tuple[int, int] | None
    # the mean z in 95% of the draws over datasets; None with fewer than four datasets
    settings_interval: tuple[float, float] | None
    # "All" and every task -> mean z; None where nothing was measured
    z: Mapping[str, float | None]
    # other averages over the same measures as the mean z that the ranking is by
    median_z: float | None
    iqm_z: float | None
    mean_rank: float | None
    # share of the comparisons with other backbones that it wins; a tie counts half
    win_rate: float | None
    # number of measures with a value, and of all measures that the ranking is over
    measured: int
    measures: int
    # share of the measures that have a value; for All the mean of the shares of the tasks
    coverage: float
    # whether it has a mean z, but covers too few measures to be ranked
    below_min_coverage: bool
    # number of its tie group: backbones that do not differ significantly from the first one; 0 without any test
    group: int
    # whether tables mark it: a backbone of the user, or a member of the pool that the user named
    highlighted: bool
    # the pool's member with the same weights; "" for none
    member: str


@dataclass(frozen=True)
class Ranking:
    """Ranked rows, best first, then rows that are not ranked; the measures that they are over; notes for a reader."""

    pool: str
    pool_hash: str
    scale: str
    columns: tuple[str, ...]
    rows: tuple[RankingRow, ...]
    measures: tuple[MeasureKey, ...]
    notes: tuple[str, ...]
    errata: tuple[ErratumNote, ...]
    indicative: tuple[Indicative, ...]
    # whether rows have intervals over test examples, and over datasets
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
    """Rank the pool's candidates (with `members`, all its members) and the user's backbones.

    Backbones with a coverage below `min_coverage` come last, without a rank. `artifacts` holds the per-example values
    of the user's backbones. The other arguments are those of ScoreTable.from_pool.
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
    """Mean z of every backbone in the first column of a score table, with bootstrap draws, intervals and tie groups."""

    def __init__(self, score_table: ScoreTable, artifacts: Artifacts | None, min_coverage: float = 0.0) -> None:
        """Compute mean z and coverage; draws and intervals follow when they are first read."""
        self.score_table, self.artifacts = score_table, artifacts
        # the column that the ranking is by, the positions of its measures, and (B, M) z-scores of these
        self.column = next(iter(score_table.columns), "")
        self.measure_indices = score_table.columns.get(self.column, [])
        self.z = score_table.z[:, self.measure_indices]
        no_coverage = np.zeros(len(score_table.backbones))
        self.coverage = score_table.coverage(self.column) if self.measure_indices else no_coverage
        self.mean_z = zscores.mean_z(self.z)
        self.is_ranked = (self.coverage >= min_coverage) & np.isfinite(self.mean_z)

    def build_ranking(self) -> Ranking:
        """Return the ranking with its notes."""
        score_table, pool = self.score_table, self.score_table.pool
        settings = {setting for setting, _ in score_table.measures}
        return Ranking(
            pool=pool.name,
            pool_hash=pool.hash,
            scale=pool.scale,
            columns=tuple(score_table.columns),
            rows=self.rows(),
            measures=score_table.measures,
            notes=(*score_table.notes, *self.notes()),
            errata=tuple(note for note in pool.errata if settings & note.settings),
            indicative=score_table.indicative,
            has_example_intervals=self.has_example_spread,
            has_settings_intervals=self.has_settings_intervals,
        )

    def rows(self) -> tuple[RankingRow, ...]:
        """Return a row per backbone: ranked ones, best first, then those below the minimum coverage, then others."""
        if not self.score_table.backbones:
            return ()
        ranked_z = np.where(self.is_ranked, self.mean_z, np.nan)
        ranks = zscores.ranks(ranked_z)
        intervals = rank_intervals(np.where(self.is_ranked, self.draws, np.nan)) if self.has_example_spread else None
        groups = self._tie_groups(ranked_z)
        averages = {
            "median_z": zscores.median_z(self.z),
            "iqm_z": zscores.iqm(self.z),
            "mean_rank": -zscores.mean_z(-zscores.ranks(self.z, axis=0)),
            "win_rate": zscores.win_rate(self.z),
        }
        columns = {name: self.score_table.mean_z(name) for name in self.score_table.columns}
        rows = [
            RankingRow(
                backbone=backbone.name,
                title=backbone.title,
                rank=None if np.isnan(ranks[i]) else int(ranks[i]),
                interval=None if intervals is None or np.isnan(ranks[i]) else intervals[i],
                settings_interval=_pair_or_none(self.settings_intervals[i]),
                z={name: none_if_nan(values[i]) for name, values in columns.items()},
                **{name: none_if_nan(values[i]) for name, values in averages.items()},
                measured=int(np.isfinite(self.z[i]).sum()),
                measures=len(self.measure_indices),
                coverage=float(self.coverage[i]),
                below_min_coverage=bool(np.isfinite(self.mean_z[i]) and not self.is_ranked[i]),
                group=int(groups[i]),
                highlighted=backbone.highlighted,
                member=backbone.member,
            )
            for i, backbone in enumerate(self.score_table.backbones)
        ]
        return tuple(sorted(rows, key=self._place))

    def _place(self, row: RankingRow) -> tuple[float, bool, float, str]:
        """Return the sort key of a row."""
        return row.rank or np.inf, not row.below_min_coverage, -(row.z.get(self.column) or 0), row.title

    def notes(self) -> list[str]:
        """Return notes on missing intervals and on how much the top depends on the pool; [] where nothing is ranked."""
        if not self.measure_indices or not self.is_ranked.any():
            return []
        return [*self._interval_notes(), *stability_note(self.score_table, self.column, self.is_ranked)]

    def _interval_notes(self) -> list[str]:
        notes = []
        if not self.has_example_spread:
            notes.append(
                "no intervals over test examples: these scores have neither per-example values nor standard errors"
            )
        if not self.has_settings_intervals:
            datasets = len({self.score_table.sources[i] for i in self.measure_indices})
            notes.append(
                f"no intervals over the choice of datasets: {resampling.MIN_CLUSTERS} sources of images are needed, "
                f"and these measures have {datasets}"
            )
        return notes

    @cached_property
    def dataset_weights(self) -> ClusterWeights:
        """Bootstrap draws of datasets."""
        sources = [self.score_table.sources[i] for i in self.measure_indices]
        return ClusterWeights(sources, np.random.default_rng(SEED))

    @cached_property
    def settings_intervals(self) -> np.ndarray:
        """(B, 2) intervals of mean z over draws of datasets; NaN where there is none."""
        return resampling.settings_interval(self.z, self.dataset_weights)

    @property
    def has_settings_intervals(self) -> bool:
        """Whether a backbone has an interval over draws of datasets."""
        return bool(np.isfinite(self.settings_intervals).any())

    @cached_property
    def draws(self) -> np.ndarray:
        """(draws, B) mean z over draws of test examples."""
        rng = np.random.default_rng(SEED)
        total = np.zeros((resampling.DRAWS, len(self.score_table.backbones)))
        for index in self.measure_indices:
            z = self.score_table.standardise(index, self._measure_draws(index, rng))
            total += np.nan_to_num(z)
        count = np.isfinite(self.z).sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @cached_property
    def has_example_spread(self) -> bool:
        """Whether the draws of test examples vary: the scores have per-example values or standard errors."""
        return bool(len(self.draws) and (np.ptp(self.draws[:, self.is_ranked], axis=0) > 1e-12).any())

    def differs(self, leader: int, other: int) -> bool:
        """Return whether the leader is significantly better by every uncertainty that can be tested; False if none."""
        over_examples = resampling.differs_over_examples(self.draws, leader, other) if self.has_example_spread else None
        over_settings = resampling.differs_over_settings(self.z, self.dataset_weights, leader, other)
        answers = [answer for answer in (over_examples, over_settings) if answer is not None]
        return bool(answers) and all(answers)

    def _tie_groups(self, ranked_z: np.ndarray) -> np.ndarray:
        if not self.has_example_spread and not self.has_settings_intervals:
            return np.zeros(len(ranked_z), np.int64)
        return resampling.tie_groups(ranked_z, self.differs)

    def _measure_draws(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """Return (draws, B) values of one measure.

        Backbones that have values of the same examples share their draws; the others are drawn by standard error.
        """
        measure, backbones = self.score_table.measures[index], self.score_table.backbones
        stderr = [b.scores[measure].provenance.get("stderr", np.nan) if measure in b.scores else 0 for b in backbones]
        draws = resampling.normal_draws(self.score_table.values[:, index], np.asarray(stderr, np.float64), rng)
        stored = read_examples(self.score_table.pool.folder, *measure)
        if stored is None:
            return draws
        aligned = {
            i: values for i, b in enumerate(backbones) if (values := self._examples(b, measure, stored)) is not None
        }
        if aligned:
            draws = np.array(draws)
            draws[:, list(aligned)] = resampling.cluster_draws(np.stack(list(aligned.values())), stored.clusters, rng)
        return draws

    def _examples(self, backbone: ScoredBackbone, measure: MeasureKey, stored: PerExampleValues) -> np.ndarray | None:
        """Return per-example values in the order of the pool's; None where there are none of the same examples."""
        if measure not in backbone.scores:
            return None
        reference = backbone.scores[measure].provenance.get("examples")
        if reference is None:
            return stored.values.get(backbone.member)
        schema = ExampleValues.schema()
        arrays = ArtifactRef.from_dict(reference).read(self.artifacts, schema) if self.artifacts else None
        if arrays is None or unpack_names(arrays["ids"]) != stored.ids:
            return None
        return arrays["values"]


def rank_intervals(draws: np.ndarray) -> list[tuple[int, int]]:
    """Return the ranks that hold 95% of the draws (draws, B) of mean z; (0, 0) for a backbone without draws."""
    intervals = resampling.interval(zscores.ranks(draws))
    return [(int(low), int(np.ceil(high))) if np.isfinite(low) else (0, 0) for low, high in intervals]


def _pair_or_none(values: np.ndarray) -> tuple[float, float] | None:
    return None if np.isnan(values).any() else (float(values[0]), float(values[1]))


def none_if_nan(value: np.ndarray | float) -> float | None:
    """Return a number, None for NaN."""
    return None if np.isnan(value) else float(value)
