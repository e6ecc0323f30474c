"""The dependence of a ranking on its pool: the same ranking with one member, or with one task, left out."""

from collections.abc import Sequence

import numpy as np

from bob_gauntlet.ranking.score_table import ScoreTable
from bob_gauntlet.scores.score import METRICS
from bob_gauntlet.stats import zscores

TOP = 3
"""Number of best backbones whose stability is reported."""


def mean_z_without_each_member(values: np.ndarray, signs: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the mean z of every backbone when the k-th member is left out of mean and std: (B, M) to (K, B).

    `signs` (M,) are -1 where lower is better; `members` (K,) are the rows that give mean and std. NaN where no measure
    is left. This is the closed form: values are not standardised K times.
    """
    present = np.isfinite(values)
    # relative to each measure's mean, so that the sums of squares keep their precision
    center = np.where(present, values, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    centered = np.where(present, values - center, 0.0)
    member_values, member_present = centered[members], present[members].astype(np.float64)
    count = member_present.sum(axis=0) - member_present
    total = member_values.sum(axis=0) - member_values
    squares = (member_values**2).sum(axis=0) - member_values**2
    mean = total / np.maximum(count, 1)
    std = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))
    # a std as small as rounding errors counts as zero
    usable = (count >= zscores.MIN_MEMBERS) & (std > 1e-7 * np.abs(centered).max(axis=0, initial=0))
    scale = np.where(usable, signs / np.where(usable, std, 1), 0.0)
    total_z = scale @ centered.T - (scale * mean) @ present.T.astype(np.float64)
    measures = usable.astype(np.float64) @ present.T.astype(np.float64)
    return np.where(measures > 0, total_z / np.maximum(measures, 1), np.nan)


def share_with_same_top(variants: np.ndarray, mean_z: np.ndarray, left_out: Sequence[int | None]) -> float:
    """Return the share of the variants (K, B) whose best backbones are those of `mean_z` (B,), in any order.

    `left_out` names the backbone that each variant leaves out, or None; it is not expected among the best.
    """
    top = _top(mean_z)
    same = 0
    for variant, absent in zip(variants, left_out, strict=True):
        expected = [backbone for backbone in top if backbone != absent]
        values = np.array(variant)
        if absent is not None:
            values[absent] = np.nan
        same += set(_top(values)[: len(expected)]) == set(expected)
    return same / len(variants)


def stability_note(score_table: ScoreTable, column: str, is_ranked: np.ndarray) -> list[str]:
    """Return one line on how often the top three stay the same; [] where no more than three backbones are ranked.

    [] also where the pool has too few members to leave one out.
    """
    pool = score_table.pool
    if is_ranked.sum() <= TOP or len(pool.members) <= zscores.MIN_MEMBERS:
        return []
    mean_z = np.where(is_ranked, score_table.mean_z(column), np.nan)
    by_member, left_out = _variants_without_members(score_table, column)
    share = share_with_same_top(np.where(is_ranked, by_member, np.nan), mean_z, left_out)
    note = f"the top {TOP} stay the same in {share:.0%} of the {len(left_out)} pools with one member left out"
    indices = score_table.columns[column]
    tasks = sorted({score_table.tasks[i] for i in indices})
    if len(tasks) > 1:
        kept_indices = [[i for i in indices if score_table.tasks[i] != task] for task in tasks]
        by_task = np.stack([zscores.mean_z(score_table.z[:, kept]) for kept in kept_indices])
        share = share_with_same_top(np.where(is_ranked, by_task, np.nan), mean_z, [None] * len(tasks))
        note += f", and in {share:.0%} of the {len(tasks)} rankings with one task left out"
    return [note]


def _variants_without_members(score_table: ScoreTable, column: str) -> tuple[np.ndarray, list[int | None]]:
    """Return (K, B) mean z with the k-th member left out, and that member's row in the table or None."""
    pool, backbones = score_table.pool, score_table.backbones
    indices = score_table.columns[column]
    measures = [score_table.measures[i] for i in indices]
    shown = {backbone.member for backbone in backbones}
    hidden_members = [name for name in pool.members if name not in shown]
    hidden_values = [[_value(pool.scores.get(name, {}).get(m)) for m in measures] for name in hidden_members]
    values = np.concatenate(
        [score_table.values[:, indices], np.array(hidden_values).reshape(len(hidden_members), len(indices))]
    )
    shown_rows = [i for i, backbone in enumerate(backbones) if backbone.member]
    member_rows = [*shown_rows, *range(len(backbones), len(values))]
    signs = np.array([METRICS[metric].sign for _, metric in measures], np.float64)
    variants = mean_z_without_each_member(values, signs, np.array(member_rows))[:, : len(backbones)]
    return variants, [i if i < len(backbones) else None for i in member_rows]


def _top(values: np.ndarray) -> list[int]:
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
    return [int(i) for i in order[:TOP] if np.isfinite(values[i])]


def _value(score: object) -> float:
    return getattr(score, "value", float("nan"))
