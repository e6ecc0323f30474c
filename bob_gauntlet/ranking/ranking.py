"""The ranking of backbones in a pool: mean z per task, ranks with intervals, tie groups, coverage. No layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bob_gauntlet.pools.errata import ErratumNote
from bob_gauntlet.pools.pool import MeasureKey, Pool
from bob_gauntlet.ranking.example_errors import ExampleErrors
from bob_gauntlet.ranking.score_table import MIN_COVERAGE, Indicative, ScoreTable
from bob_gauntlet.ranking.stability import stability_note
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.scores.score import Score
from bob_gauntlet.stats import clustered, separation, zscores
from bob_gauntlet.stats.clustered import Estimate
from bob_gauntlet.stats.pairwise import MIN_FLIPPED_CLUSTERS

SEED = 0
"""Seed of the flips of signs: the same scores give the same groups."""


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
    # the ranks that it may have over other test examples, with 95% each; None without any standard error
    interval: tuple[int, int] | None
    # 95% interval of the mean z over other datasets; None with fewer than four sources of images
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
    # number of its tie group: backbones that the best one of the group is not significantly better than; 0 untested
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
    """Mean z of every backbone in the first column of a score table, with intervals, tests and tie groups."""

    def __init__(self, score_table: ScoreTable, artifacts: Artifacts | None, min_coverage: float = 0.0) -> None:
        """Compute mean z and coverage; tests and intervals follow when they are first read."""
        self.score_table = score_table
        self.example_errors = ExampleErrors(score_table, artifacts)
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
        intervals = separation.rank_intervals(self.example_differences, self.is_ranked)
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
                interval=_rank_interval(intervals[i]) if self.has_example_spread else None,
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
        if self.has_example_spread:
            notes = self.example_errors.notes(self.measure_indices, self.is_ranked)
        else:
            notes = [
                "no intervals over test examples: these scores have neither per-example values nor standard errors"
            ]
        for what, needed, is_there in (
            ("intervals", clustered.MIN_CLUSTERS, self.has_settings_intervals),
            ("tie groups", MIN_FLIPPED_CLUSTERS, self.has_dataset_tests or not self.has_settings_intervals),
        ):
            if not is_there:
                notes.append(
                    f"no {what} over the choice of datasets: {needed} sources of images are needed, and these measures "
                    f"have {len(set(self.sources))}"
                )
        return notes

    @property
    def sources(self) -> list[str]:
        """The source of images of each measure."""
        return [self.score_table.sources[i] for i in self.measure_indices]

    @cached_property
    def settings_intervals(self) -> np.ndarray:
        """(B, 2) intervals of mean z over other datasets; NaN where there is none."""
        return clustered.estimate_means_over_datasets(self.z, self.sources).interval()

    @property
    def has_settings_intervals(self) -> bool:
        """Whether a backbone has an interval over other datasets."""
        return bool(np.isfinite(self.settings_intervals).any())

    @cached_property
    def example_differences(self) -> Estimate:
        """(B, B) differences of mean z, with their errors over other test examples."""
        return self.example_errors.estimate_differences(self.measure_indices)

    @cached_property
    def has_example_spread(self) -> bool:
        """Whether a ranked backbone has per-example values or a standard error."""
        own_variance = np.diag(self.example_differences.variance)
        return bool(np.isfinite(own_variance[self.is_ranked]).any())

    @cached_property
    def better(self) -> np.ndarray:
        """(B, B) whether one ranked backbone is significantly better than another, by every test that the pair has."""
        rng = np.random.default_rng(SEED)
        return separation.find_better(self.example_differences, self.z, self.sources, self.is_ranked, rng)

    @property
    def has_dataset_tests(self) -> bool:
        """Whether there are enough sources of images to test backbones over other datasets."""
        return self.has_settings_intervals and len(set(self.sources)) >= MIN_FLIPPED_CLUSTERS

    def _tie_groups(self, ranked_z: np.ndarray) -> np.ndarray:
        if not self.has_example_spread and not self.has_dataset_tests:
            return np.zeros(len(ranked_z), np.int64)
        return separation.tie_groups(ranked_z, self.better)


def _rank_interval(values: np.ndarray) -> tuple[int, int] | None:
    return (int(values[0]), int(values[1])) if values[0] else None


def _pair_or_none(values: np.ndarray) -> tuple[float, float] | None:
    return None if np.isnan(values).any() else (float(values[0]), float(values[1]))


def none_if_nan(value: np.ndarray | float) -> float | None:
    """Return a number, None for NaN."""
    return None if np.isnan(value) else float(value)
