"""Test which backbones differ: tests of all pairs, rank intervals and tie groups. Numbers in, numbers out.

The best of several equal backbones is chosen from the same data that it is tested with, and many pairs are tested.
Every statement here is corrected for both, so that in 95% of all tables no two equal backbones are told apart. The
backbones that are not told apart from the best then hold the truly best one with 95%, as a model confidence set does
(Hansen, Lunde and Nason, Econometrica 2011). tests/stats/test_worlds.py measures the share of errors and the power.
"""

from collections.abc import Sequence

import numpy as np

from bob_gauntlet.stats.clustered import LEVEL, Estimate
from bob_gauntlet.stats.pairwise import holm, sign_flip_p_of_pairs


def find_better(
    over_examples: Estimate, z: np.ndarray, sources: Sequence[str], compared: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return (B, B) whether backbone i is significantly better than j, by every uncertainty that can be tested.

    *Test examples*: the differences `over_examples`, corrected for the number of pairs by Holm's (1979) step-down
    method, which holds its level whatever the dependence of the pairs. *Datasets*: z (B, M) on the measures that both
    have, with flipped signs of whole `sources`. `compared` (B,) are the backbones that are tested.
    """
    z = np.where(compared[:, None], z, np.nan)
    present = np.isfinite(z)
    totals = np.where(present, z, 0.0) @ present.T
    over_datasets = sign_flip_p_of_pairs(z, sources, rng)
    tests = (
        (over_examples.value, _correct_pairs(np.where(compared[:, None] & compared, over_examples.p, np.nan))),
        (totals - totals.T, over_datasets),
    )
    is_better = [(difference > 0) & (p <= LEVEL) for difference, p in tests]
    agreed = [better | np.isnan(p) for better, (_, p) in zip(is_better, tests, strict=True)]
    return np.asarray((is_better[0] | is_better[1]) & agreed[0] & agreed[1])


def _correct_pairs(p: np.ndarray) -> np.ndarray:
    """Return symmetric p-values (B, B) corrected by Holm's method for the number of pairs; NaN stays NaN."""
    upper = np.triu_indices(len(p), 1)
    corrected = np.full(p.shape, np.nan)
    corrected[upper] = holm(p[upper])
    corrected.T[upper] = corrected[upper]
    return corrected


def rank_intervals(differences: Estimate, compared: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Return (B, 2) lowest and highest ranks that a backbone may have, each row on its own; 0 where not compared.

    A marginal confidence set of ranks (Mogstad, Romano, Shaikh and Wilhelm, Review of Economic Studies 2024): the ranks
    that remain where a backbone is tested against each other one, and these tests are corrected by Holm's method.
    """
    p = np.where(compared[:, None] & compared, differences.p, np.nan)
    np.fill_diagonal(p, np.nan)
    told_apart = holm(p) <= level
    better_ones = (told_apart & (differences.value < 0)).sum(axis=1)
    worse_ones = (told_apart & (differences.value > 0)).sum(axis=1)
    intervals = np.stack([1 + better_ones, compared.sum() - worse_ones], axis=1)
    return np.where(compared[:, None], intervals, 0)


def tie_groups(values: np.ndarray, better: np.ndarray) -> np.ndarray:
    """Return the tie group of each value: (B,) to numbers from 1, and 0 where there is no value (NaN).

    `better` (B, B) says which value is significantly better than which. Group 1 holds the best value and all that it is
    not better than, group 2 the best of the rest and all of the rest that this one is not better than, and so on.

    >>> better = np.array([[False, True, False], [False, False, False], [False, False, False]])
    >>> tie_groups(np.array([3.0, 2.0, 1.0]), better).tolist()
    [1, 2, 1]
    """
    groups = np.zeros(len(values), np.int64)
    rest = np.isfinite(values)
    while rest.any():
        leader = int(np.argmax(np.where(rest, values, -np.inf)))
        members = rest & ~better[leader]
        groups[members] = groups.max() + 1
        rest &= ~members
    return groups
