"""One backbone against each other one, on the measures that both have, with Holm's correction over the others."""

from dataclasses import dataclass

import numpy as np

from bob_gauntlet.ranking.ranking import SEED, RankingStatistics
from bob_gauntlet.stats import pairwise


@dataclass(frozen=True)
class Comparison:
    """A backbone against another: positive where it is better."""

    other: str
    # common measures, and the datasets that they come from
    measures: int
    datasets: int
    # mean difference of z, and the share of the measures won
    gap: float
    wins: float
    # Holm-corrected p-values over draws of datasets and over test examples; None where there is no such test
    p_datasets: float | None
    p_examples: float | None


def compare_with_others(order: RankingStatistics, name: str) -> list[Comparison]:
    """`name` against every other backbone of an order, strongest opponent first; [] where it has no value.

    Over datasets by flipping the signs of whole datasets' differences, over examples by the paired bootstrap; both
    two-sided.
    """
    score_table = order.score_table
    [mine] = [i for i, e in enumerate(score_table.backbones) if e.name == name]
    others = [i for i in np.argsort(-np.nan_to_num(order.overall, nan=-np.inf)) if i != mine]
    gaps = {i: order.z[mine] - order.z[i] for i in others}
    met = [i for i in others if np.isfinite(gaps[i]).any()]
    sources = np.array([score_table.sources[i] for i in order.measure_indices])
    rng = np.random.default_rng(SEED)
    by_datasets = pairwise.holm(np.array([pairwise.sign_flip_p(gaps[i], list(sources), rng) for i in met]))
    drawn = [pairwise.draws_p(order.draws[:, mine] - order.draws[:, i]) if order.spread else np.nan for i in met]
    by_examples = pairwise.holm(np.array(drawn))
    return [
        Comparison(
            other=score_table.backbones[i].title,
            measures=int(np.isfinite(gaps[i]).sum()),
            datasets=len(set(sources[np.isfinite(gaps[i])])),
            gap=float(np.nanmean(gaps[i])),
            wins=pairwise.wins(order.z[mine], order.z[i]),
            p_datasets=_number(p),
            p_examples=_number(q),
        )
        for i, p, q in zip(met, by_datasets, by_examples, strict=True)
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
