"""The figures of a page as plain data: report.js draws them from this."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bob_gauntlet.analysis import figures
from bob_gauntlet.ranking.score_table import ALL, ScoreTable
from bob_gauntlet.report.html.formatting import column

STYLES = ("supervised", "self-supervised", "vision-language", "none")
"""In the order of their colours."""

COST_TITLES = {"params": "Parameters", "gflops": "GFLOPs", "latency": "Latency"}
"""What the switch of the cost figure says."""

FEWEST = 3
"""Points below which a figure is left out."""


@dataclass(frozen=True)
class Figures:
    """What the page draws, and the ids of each group's panels."""

    # everything that the script needs: backbones, families and styles with their marks, panels
    data: Mapping[str, Any]
    tasks: tuple[Mapping[str, Any], ...]
    fine_tuning: tuple[Mapping[str, Any], ...]
    cost: tuple[Mapping[str, Any], ...]

    @property
    def any(self) -> bool:
        """Whether there is one to show."""
        return bool(self.tasks or self.fine_tuning or self.cost)


def figures_of(score_table: ScoreTable) -> Figures:
    """Of every member of the pool and the own backbones."""
    index = {backbone.name: i for i, backbone in enumerate(score_table.backbones)}
    groups = [
        tuple(panel for panel in found if len(panel["points"]) >= FEWEST)
        for found in (_tasks(score_table, index), _fine_tuning(score_table, index), _cost(score_table, index))
    ]
    about = [backbone.about for backbone in score_table.backbones]
    data = {
        "backbones": [_backbone(e.name, e.title, e.highlighted, e.about) for e in score_table.backbones],
        "families": [name for name, _ in Counter(a.family for a in about).most_common()],
        "styles": in_order((a.style for a in about), STYLES),
        "panels": {panel["id"]: panel for group in groups for panel in group},
    }
    return Figures(data, *groups)


def in_order(found: Iterable[str], known: Iterable[str] = ()) -> list[str]:
    """Those of `known` that were found, then the others by name; "" last.

    >>> in_order(["b", "", "none", "a"], ["none"])
    ['none', 'a', 'b', '']
    """
    names = set(found)
    return [*(n for n in known if n in names), *sorted(names - {*known, ""}), *([""] if "" in names else [])]


def number(text: str) -> float | None:
    """A figure of backbones.csv; None for what is none.

    >>> number("87.57"), number(""), number("about 5"), number("nan")
    (87.57, None, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _backbone(name: str, title: str, own: bool, about: Any) -> dict[str, Any]:
    described = {key: getattr(about, key) for key in ("family", "style", "method", "data")}
    return {"name": name, "title": title, "own": own, "params": number(about.params), **described}


def _tasks(score_table: ScoreTable, index: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """The paper's Figure 1, or what comes closest in this pool."""
    first, *others = [name for name in score_table.columns if name != ALL] or [""]
    wanted = [name for name in ("Det", "OOD-Cls") if name in others]
    for other in [*wanted, *(name for name in others if name not in wanted)][:2]:
        yield {
            "id": f"tasks-{first}-{other}".lower(),
            "kind": "scatter",
            "title": f"{first} against {other}",
            "about": f"{column(first)} against {column(other)}",
            "x": {"label": f"{first}, mean z", "short": first},
            "y": {"label": f"{other}, mean z", "short": other},
            "points": _points(figures.task_points(score_table, first, other), index),
        }


def _fine_tuning(score_table: ScoreTable, index: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """The paper's Figure 2."""
    for number_of, (title, found) in enumerate(figures.fine_tuning_gains(score_table)):
        points = [
            {"b": index[d.backbone.name], "x": d.gain, "finetuned": d.finetuned, "frozen": d.frozen} for d in found
        ]
        label = "z fine-tuned less z frozen"
        yield {"id": f"tuning-{number_of}", "kind": "strips", "title": title, "x": {"label": label}, "points": points}


def _cost(score_table: ScoreTable, index: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Mean z against what a backbone costs."""
    by_what = next(iter(score_table.columns), "")
    for by, label in figures.COSTS.items():
        points = _points(figures.cost_points(score_table, by, by_what), index)
        yield {
            "id": f"cost-{by}",
            "kind": "scatter",
            "title": COST_TITLES[by],
            "x": {"label": label, "short": label, "log": True},
            "y": {"label": f"{by_what}, mean z", "short": by_what},
            "points": [point for point in points if point["x"] > 0],
        }


def _points(found: Iterable[figures.Point], index: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"b": index[p.backbone.name], "x": p.x, "y": p.y, "front": p.front} for p in found]
