"""The points behind the paper's figures, for any pool: tasks against each other, fine-tuned less frozen, cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bob_gauntlet.ranking.score_table import MIN_COVERAGE, ScoredBackbone, ScoreTable

MODES = (
    ("detection-finetune", "detection-frozen"),
    ("ood-detection-finetune", "ood-detection-frozen"),
    ("finetune", "linear-probe-lars"),
    ("finetune", "linear-probe"),
)
"""Protocols that train the whole backbone, and those that train a head on the frozen one."""

COSTS = {"params": "parameters (M)", "gflops": "GFLOPs of one image", "latency": "latency of one image (ms)"}
"""What a backbone costs, with the unit."""

METRIC_OF = {"params": "params", "gflops": "flops", "latency": "latency"}
"""The efficiency metric of each cost."""


@dataclass(frozen=True)
class Point:
    """One backbone in a figure."""

    backbone: ScoredBackbone
    x: float
    y: float
    # no other backbone is better at no higher cost
    front: bool = False


@dataclass(frozen=True)
class Difference:
    """One backbone's z fine-tuned less its z frozen, on one measure."""

    backbone: ScoredBackbone
    finetuned: float
    frozen: float

    @property
    def gain(self) -> float:
        """In standard deviations, each over its own measure's members (paper, Figure 2)."""
        return self.finetuned - self.frozen


def tasks(score_table: ScoreTable, x: str, y: str) -> list[Point]:
    """Mean z in one task against another's (paper, Figure 1), of those that have both."""
    if x not in score_table.columns or y not in score_table.columns:
        return []
    return _points(score_table, score_table.mean_z(x), score_table.mean_z(y))


def fine_tuning(score_table: ScoreTable) -> Iterator[tuple[str, list[Difference]]]:
    """Name of a panel ("Det, coco-2017") and its differences: paper, Figure 2. Panels without a pair are left out."""
    index = {measure: i for i, measure in enumerate(score_table.measures)}
    for (setting, metric), i in index.items():
        protocol, _, dataset = setting.partition("@")
        for whole, head in MODES:
            j = index.get((f"{head}@{dataset}", metric))
            if protocol == whole and j is not None:
                pairs = zip(score_table.backbones, score_table.z[:, i], score_table.z[:, j], strict=True)
                found = [Difference(e, float(a), float(b)) for e, a, b in pairs if np.isfinite(a - b)]
                if found:
                    yield f"{score_table.tasks[i]}, {dataset}", sorted(found, key=lambda d: -d.gain)


def cost(score_table: ScoreTable, by: str, column: str) -> list[Point]:
    """Mean z of a task or of all against a cost of COSTS, with the Pareto front.

    Backbones without the cost, or that cover too little of the column, are left out.
    """
    if column not in score_table.columns:
        return []
    costs = np.array([_cost(backbone, by) for backbone in score_table.backbones])
    covered = score_table.coverage(column) >= MIN_COVERAGE
    points = _points(score_table, costs, np.where(covered, score_table.mean_z(column), np.nan))
    return [Point(p.backbone, p.x, p.y, front=_on_front(p, points)) for p in points]


def _points(score_table: ScoreTable, x: np.ndarray, y: np.ndarray) -> list[Point]:
    found = zip(score_table.backbones, x, y, strict=True)
    return [Point(backbone, float(a), float(b)) for backbone, a, b in found if np.isfinite(a + b)]


def _on_front(point: Point, points: Sequence[Point]) -> bool:
    """Whether no other is at least as good in both and better in one."""
    return not any(p.x <= point.x and p.y >= point.y and (p.x < point.x or p.y > point.y) for p in points)


def _cost(backbone: ScoredBackbone, by: str) -> float:
    """As known of the backbone, else as measured; NaN where neither is."""
    if text := getattr(backbone.about, by, ""):
        return float(text)
    score = backbone.scores.get(("efficiency@noise", METRIC_OF[by]))
    return float("nan") if score is None else score.value
