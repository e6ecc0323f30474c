"""Comparison of one backbone with each other one, on the measures that both have."""

from dataclasses import dataclass

import numpy as np

from bob_gauntlet.ranking.ranking import SEED, RankingStatistics, none_if_nan
from bob_gauntlet.stats import pairwise


@dataclass(frozen=True)
class Comparison:
    """One backbone compared with another one. The JSON report holds these fields under "versus"."""

    # title of the other backbone
    other: str
    # number of common measures, and of the datasets that they come from
    measures: int
    datasets: int
    # mean difference of z, positive where the backbone is better than the other, and the share of the measures won
    gap: float
    wins: float
    # p-values over other datasets and over other test examples, after Holm's correction; None without such a test
    p_datasets: float | None
    p_examples: float | None


def compare_with_others(statistics: RankingStatistics, name: str) -> list[Comparison]:
    """Compare backbone `name` with every other one, the strongest first; [] where it has no value.

    Both p-values are two-sided and are of the difference on the measures that both have: over datasets by flipping the
    signs of whole datasets' differences, over test examples by a paired t-test, in which all measures of one source of
    images share their clusters. Both are corrected by Holm's method for the number of other backbones.
    """
    score_table, z = statistics.score_table, statistics.z
    [this] = [i for i, backbone in enumerate(score_table.backbones) if backbone.name == name]
    by_strength = np.argsort(-np.nan_to_num(statistics.mean_z, nan=-np.inf))
    differences = {i: z[this] - z[i] for i in by_strength if i != this}
    others = [i for i, difference in differences.items() if np.isfinite(difference).any()]
    sources = np.array([score_table.sources[i] for i in statistics.measure_indices])
    rng = np.random.default_rng(SEED)
    p_datasets = [pairwise.sign_flip_p(differences[i], list(sources), rng) for i in others]
    p_examples = _p_over_examples(statistics, this)[others]
    return [
        Comparison(
            other=score_table.backbones[i].title,
            measures=int(np.isfinite(differences[i]).sum()),
            datasets=len(set(sources[np.isfinite(differences[i])])),
            gap=float(np.nanmean(differences[i])),
            wins=pairwise.wins(z[this], z[i]),
            p_datasets=none_if_nan(p_of_datasets),
            p_examples=none_if_nan(p_of_examples),
        )
        for i, p_of_datasets, p_of_examples in zip(
            others, pairwise.holm(np.array(p_datasets)), pairwise.holm(p_examples), strict=True
        )
    ]


def _p_over_examples(statistics: RankingStatistics, this: int) -> np.ndarray:
    """Return the p-value (B,) over test examples of each difference on the measures that both backbones have.

    NaN where such a difference has no standard error.
    """
    has_value = np.isfinite(statistics.z)
    common = has_value & has_value[this]
    p = np.full(len(common), np.nan)
    for measures in np.unique(common[common.any(axis=1)], axis=0):
        positions = [statistics.measure_indices[k] for k in np.flatnonzero(measures)]
        of_pairs = statistics.example_errors.estimate_differences(positions).p[this]
        matches = (common == measures).all(axis=1)
        p[matches] = of_pairs[matches]
    return p
