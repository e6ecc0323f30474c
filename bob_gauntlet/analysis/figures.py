"""Data points of the paper's figures for any pool: task against task, gains of fine-tuning, z against cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bob_gauntlet.ranking.score_table import MIN_COVERAGE, ScoredBackbone, ScoreTable

FINETUNED_AND_FROZEN = (
    ("detection-finetune", "detection-frozen"),
    ("ood-detection-finetune", "ood-detection-frozen"),
    ("finetune", "linear-probe-lars"),
    ("finetune", "linear-probe"),
)
"""Pairs of protocols: the first trains the whole backbone, the second trains a head on the frozen backbone."""

COSTS = {"params": "parameters (M)", "gflops": "GFLOPs of one image", "latency": "latency, in times a ResNet-18's"}
"""Costs of a backbone, with their units."""

METRIC_OF = {"params": "params", "gflops": "flops", "latency": "latency_ratio"}
"""The efficiency metric of each cost."""


@dataclass(frozen=True)
class Point:
    """One backbone in a figure."""

    backbone: ScoredBackbone
    x: float
    y: float
    # True if no other backbone has a higher y at the same or a lower x
    front: bool = False


@dataclass(frozen=True)
class FineTuningGain:
    """The z-scores of one backbone on one dataset and metric, fine-tuned and frozen."""

    backbone: ScoredBackbone
    finetuned: float
    frozen: float

    @property
    def gain(self) -> float:
        """The fine-tuned z minus the frozen z; each z uses the mean and std of its own measure (paper, Figure 2)."""
        return self.finetuned - self.frozen


def task_points(score_table: ScoreTable, x: str, y: str) -> list[Point]:
    """Return the mean z in task `x` and in task `y` of every backbone that has both (paper, Figure 1)."""
    if x not in score_table.columns or y not in score_table.columns:
        return []
    return _points(score_table, score_table.mean_z(x), score_table.mean_z(y))


def fine_tuning_gains(score_table: ScoreTable) -> Iterator[tuple[str, list[FineTuningGain]]]:
    """Yield the panels of the paper's Figure 2: name ("Det, coco-2017") and gains, largest gain first.

    Panels without a backbone that has both z-scores are left out.
    """
    index = {measure: i for i, measure in enumerate(score_table.measures)}
    for (setting, metric), i in index.items():
        protocol, _, dataset = setting.partition("@")
        for finetuned, frozen in FINETUNED_AND_FROZEN:
            j = index.get((f"{frozen}@{dataset}", metric))
            if protocol == finetuned and j is not None:
                z = zip(score_table.backbones, score_table.z[:, i], score_table.z[:, j], strict=True)
                gains = [FineTuningGain(backbone, float(a), float(b)) for backbone, a, b in z if np.isfinite(a - b)]
                if gains:
                    yield f"{score_table.tasks[i]}, {dataset}", sorted(gains, key=lambda gain: -gain.gain)


def cost_points(score_table: ScoreTable, by: str, column: str) -> list[Point]:
    """Return the cost (x) and the mean z (y) of every backbone, and mark those on the Pareto front.

    `by` is a key of COSTS, `column` a task or All. Backbones whose cost is unknown, or that cover less than
    MIN_COVERAGE of the column, are left out.
    """
    if column not in score_table.columns:
        return []
    costs = np.array([_cost(backbone, by) for backbone in score_table.backbones])
    covered = score_table.coverage(column) >= MIN_COVERAGE
    points = _points(score_table, costs, np.where(covered, score_table.mean_z(column), np.nan))
    return [Point(p.backbone, p.x, p.y, front=_on_front(p, points)) for p in points]


def _points(score_table: ScoreTable, x: np.ndarray, y: np.ndarray) -> list[Point]:
    """Return a point for every backbone that has both values."""
    coordinates = zip(score_table.backbones, x, y, strict=True)
    return [Point(backbone, float(a), float(b)) for backbone, a, b in coordinates if np.isfinite(a + b)]


def _on_front(point: Point, points: Sequence[Point]) -> bool:
    """Check that no other point is at least as good in both coordinates and better in one."""
    return not any(p.x <= point.x and p.y >= point.y and (p.x < point.x or p.y > point.y) for p in points)


def _cost(backbone: ScoredBackbone, by: str) -> float:
    """Return the known cost of a backbone, else its measured cost; NaN if there is neither."""
    if text := getattr(backbone.about, by, ""):
        return float(text)
    score = backbone.scores.get(("efficiency@noise", METRIC_OF[by]))
    return float("nan") if score is None else score.value
