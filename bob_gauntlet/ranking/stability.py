"""How much an order depends on the pool: the same ranking with one member, or one task, left out."""

from collections.abc import Sequence

import numpy as np

from bob_gauntlet.ranking.score_table import ScoreTable
from bob_gauntlet.scores.score import METRICS
from bob_gauntlet.stats import zscores

TOP = 3
"""The backbones whose order is watched."""


def without_each_member(values: np.ndarray, signs: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(B, M) values to (K, B) mean z where mean and std leave out the k-th member; NaN where nothing is left.

    `members` are the K rows that make mean and std. Closed form: nothing is standardised K times over.
    """
    present = np.isfinite(values)
    # about each measure's mean, so that the sums of squares keep their digits
    middle = np.where(present, values, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    centred = np.where(present, values - middle, 0.0)
    mine, inside = centred[members], present[members].astype(np.float64)
    count = inside.sum(axis=0) - inside
    total, squares = mine.sum(axis=0) - mine, (mine**2).sum(axis=0) - mine**2
    mean = total / np.maximum(count, 1)
    std = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))
    # a spread that is left over from rounding is none
    usable = (count >= zscores.FEWEST) & (std > 1e-7 * np.abs(centred).max(axis=0, initial=0))
    scale = np.where(usable, signs / np.where(usable, std, 1), 0.0)
    summed = scale @ centred.T - (scale * mean) @ present.T.astype(np.float64)
    held = usable.astype(np.float64) @ present.T.astype(np.float64)
    return np.where(held > 0, summed / np.maximum(held, 1), np.nan)


def held_share(orders: np.ndarray, overall: np.ndarray, left_out: Sequence[int | None]) -> float:
    """Share of the (K, B) variants whose best are those of `overall`, in any order, apart from the one left out."""
    best = _best(overall)
    held = 0
    for order, gone in zip(orders, left_out, strict=True):
        expected = [b for b in best if b != gone]
        values = np.array(order)
        if gone is not None:
            values[gone] = np.nan
        held += set(_best(values)[: len(expected)]) == set(expected)
    return held / len(orders)


def stability_note(score_table: ScoreTable, column: str, ranked: np.ndarray) -> list[str]:
    """One line on how often the top three hold; nothing where there are no four backbones to choose from."""
    chosen = score_table.columns[column]
    overall = np.where(ranked, score_table.mean_z(column), np.nan)
    pool = score_table.pool
    if ranked.sum() <= TOP or len(pool.members) <= zscores.FEWEST:
        return []
    measures = [score_table.measures[i] for i in chosen]
    missing = [n for n in pool.members if n not in {e.member for e in score_table.backbones}]
    others = [[_value(pool.scores.get(n, {}).get(m)) for m in measures] for n in missing]
    values = np.concatenate([score_table.values[:, chosen], np.array(others).reshape(len(missing), len(chosen))])
    rows = [i for i, e in enumerate(score_table.backbones) if e.member] + list(range(len(ranked), len(values)))
    signs = np.array([METRICS[metric].sign for _, metric in measures], np.float64)
    orders = without_each_member(values, signs, np.array(rows))[:, : len(ranked)]
    gone = [i if i < len(ranked) else None for i in rows]
    share = held_share(np.where(ranked, orders, np.nan), overall, gone)
    text = f"the top {TOP} hold in {share:.0%} of the {len(rows)} pools that leave one member out"
    tasks = sorted({score_table.tasks[i] for i in chosen})
    if len(tasks) > 1:
        without = [[i for i in chosen if score_table.tasks[i] != task] for task in tasks]
        left = np.stack([np.where(ranked, zscores.mean_z(score_table.z[:, kept]), np.nan) for kept in without])
        text += f", and in {held_share(left, overall, [None] * len(tasks)):.0%} of the {len(tasks)} that leave one task"
    return [text + " out" * (len(tasks) > 1)]


def _best(values: np.ndarray) -> list[int]:
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
    return [int(i) for i in order[:TOP] if np.isfinite(values[i])]


def _value(score: object) -> float:
    return getattr(score, "value", float("nan"))
