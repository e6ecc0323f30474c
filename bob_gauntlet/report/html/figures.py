"""The data of a page's figures, which figures.js draws."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bob_gauntlet.analysis import figures
from bob_gauntlet.ranking.score_table import ALL, ScoredBackbone, ScoreTable

STYLES = ("supervised", "self-supervised", "vision-language", "none")
"""Styles of pretraining, in the order of their colours in report.css."""

COST_TITLES = {"params": "Parameters", "gflops": "GFLOPs", "latency": "Latency"}
"""Cost -> text on the button that selects it."""

FEWEST = 3
"""Least number of points of a figure; a figure with fewer is left out."""


@dataclass(frozen=True)
class Figures:
    """The data of all figures, and the panels by group."""

    # what the script needs: backbones, families, styles and panels
    data: Mapping[str, Any]
    tasks: tuple[Mapping[str, Any], ...]
    fine_tuning: tuple[Mapping[str, Any], ...]
    cost: tuple[Mapping[str, Any], ...]

    @property
    def any(self) -> bool:
        """Whether there is at least one figure."""
        return bool(self.tasks or self.fine_tuning or self.cost)


def build_figures(score_table: ScoreTable) -> Figures:
    """Build the figures of all backbones of a score table: the members of the pool and the user's backbones."""
    index = {backbone.name: i for i, backbone in enumerate(score_table.backbones)}
    groups = [
        tuple(panel for panel in panels if len(panel["points"]) >= FEWEST)
        for panels in (
            _task_panels(score_table, index),
            _fine_tuning_panels(score_table, index),
            _cost_panels(score_table, index),
        )
    ]
    about = [backbone.about for backbone in score_table.backbones]
    data = {
        "backbones": [_backbone_record(backbone) for backbone in score_table.backbones],
        "families": [name for name, _ in Counter(a.family for a in about).most_common()],
        "styles": sort_known_first((a.style for a in about), STYLES),
        "panels": {panel["id"]: panel for group in groups for panel in group},
    }
    return Figures(data, *groups)


def sort_known_first(values: Iterable[str], known: Iterable[str] = ()) -> list[str]:
    """Sort the distinct values: those of `known` in its order, then the others by name, then "".

    >>> sort_known_first(["b", "", "none", "a"], ["none"])
    ['none', 'a', 'b', '']
    """
    names = set(values)
    return [*(n for n in known if n in names), *sorted(names - {*known, ""}), *([""] if "" in names else [])]


def parse_number(text: str) -> float | None:
    """Parse a number of backbones.csv; None for text that is not a finite number.

    >>> parse_number("87.57"), parse_number(""), parse_number("about 5"), parse_number("nan")
    (87.57, None, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _backbone_record(backbone: ScoredBackbone) -> dict[str, Any]:
    about = {key: getattr(backbone.about, key) for key in ("family", "style", "method", "data")}
    params = parse_number(backbone.about.params)
    return {"name": backbone.name, "title": backbone.title, "own": backbone.highlighted, "params": params, **about}


def _task_panels(score_table: ScoreTable, index: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Yield the panels of the paper's Figure 1, or the closest that this pool allows."""
    first, *others = [name for name in score_table.columns if name != ALL] or [""]
    preferred = [name for name in ("Det", "OOD-Cls") if name in others]
    for other in [*preferred, *(name for name in others if name not in preferred)][:2]:
        yield {
            "id": f"tasks-{first}-{other}".lower(),
            "kind": "scatter",
            "title": f"{other} against {first}",
            "x": {"label": f"{first}, mean z", "short": first},
            "y": {"label": f"{other}, mean z", "short": other},
            "points": _point_records(figures.task_points(score_table, first, other), index),
        }


def _fine_tuning_panels(score_table: ScoreTable, index: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Yield the panels of the paper's Figure 2: z after fine-tuning minus z of the frozen backbone."""
    for number, (title, gains) in enumerate(figures.fine_tuning_gains(score_table)):
        points = [
            {"backbone": index[each.backbone.name], "x": each.gain, "finetuned": each.finetuned, "frozen": each.frozen}
            for each in gains
        ]
        label = "z fine-tuned minus z frozen"
        yield {"id": f"tuning-{number}", "kind": "strips", "title": title, "x": {"label": label}, "points": points}


def _cost_panels(score_table: ScoreTable, index: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Yield a panel per cost: the mean z of the first column against parameters, GFLOPs or latency."""
    column = next(iter(score_table.columns), "")
    for cost, label in figures.COSTS.items():
        points = _point_records(figures.cost_points(score_table, cost, column), index)
        yield {
            "id": f"cost-{cost}",
            "kind": "scatter",
            "title": COST_TITLES[cost],
            "x": {"label": label, "short": label, "log": True},
            "y": {"label": f"{column}, mean z", "short": column},
            "points": [point for point in points if point["x"] > 0],
        }


def _point_records(points: Iterable[figures.Point], index: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"backbone": index[p.backbone.name], "x": p.x, "y": p.y, "front": p.front} for p in points]
