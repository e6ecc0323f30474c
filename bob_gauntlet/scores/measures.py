"""Settings and measures, and the measures of each kind of setting."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from bob_gauntlet.errors import UsageError
from bob_gauntlet.scores.score import Scale

Task = Literal["Cls", "Det", "Seg", "Ret", "OOD-Cls", "OOD-Det", "Adv", "Cal", "Eff"]

TASKS: Mapping[str, str] = {
    "Cls": "image classification",
    "Det": "object detection",
    "Seg": "instance segmentation",
    "Ret": "image retrieval",
    "OOD-Cls": "classification out of distribution",
    "OOD-Det": "detection out of distribution",
    "Adv": "adversarial robustness",
    "Cal": "calibration",
    "Eff": "efficiency",
}
"""Every task; the paper's six come first."""

IN_ALL = ("Cls", "Det", "Seg", "Ret", "OOD-Cls", "OOD-Det")
"""The tasks whose ranked measures make up All (paper, Table 2); the others have columns of their own."""


@dataclass(frozen=True)
class Measure:
    """One metric of a setting: the task that it belongs to, whether it is ranked, and the paper's columns for it."""

    metric: str
    task: str
    ranked: bool = False
    paper: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """A protocol on a dataset, the scales at which it runs, and its measures.

    At the scales `on_request` it runs only where a user names it.
    """

    protocol: str
    dataset: str
    scales: tuple[Scale, ...]
    measures: tuple[Measure, ...]
    planned: bool = False
    on_request: tuple[Scale, ...] = ()

    def is_requested(self, text: str) -> bool:
        """Return whether a text names this setting: whether it holds the last word of the protocol's id.

        The text is the expression after `-k`, a node id of pytest, or a pattern of setting ids.

        >>> Setting("detection-scratch", "photo-scenes", ("mini",), ()).is_requested("detection and scratch")
        True
        """
        return self.protocol.rpartition("-")[2] in text

    @property
    def id(self) -> str:
        """`protocol@dataset`."""
        return f"{self.protocol}@{self.dataset}"

    def measure(self, metric: str) -> Measure:
        """Return the measure of a metric. Raises UsageError where this setting has none."""
        for measure in self.measures:
            if measure.metric == metric:
                return measure
        known = ", ".join(m.metric for m in self.measures)
        raise UsageError(f"{self.id} has no metric {metric!r}; it has {known}")


def classification(
    task: str, *, ranked: bool, top1: Iterable[str] = (), top5: Iterable[str] = ()
) -> tuple[Measure, ...]:
    """Return top-1 and top-5; `top1` and `top5` name the paper's columns."""
    return Measure("top1", task, ranked, tuple(top1)), Measure("top5", task, paper=tuple(top5))


def detection(*, ranked: bool, table: str = "") -> tuple[Measure, ...]:
    """Return AP, AP50 and AP75 of boxes and masks; `table` names the paper's table."""
    return tuple(
        Measure(f"{ap}_{kind}", task, ranked and ap == "ap", (f"{table}:{ap}_{kind}",) if table else ())
        for kind, task in (("box", "Det"), ("mask", "Seg"))
        for ap in ("ap", "ap50", "ap75")
    )


def shifted_detection(column: str = "") -> tuple[Measure, ...]:
    """Return AP, AP50 and AP75 of boxes on shifted images; `column` is one of the paper's Table 15."""
    return (
        Measure("ap_box", "OOD-Det"),
        Measure("ap50_box", "OOD-Det", True, (f"table15:{column}",) if column else ()),
        Measure("ap75_box", "OOD-Det"),
    )


def retrieval(column: str = "") -> tuple[Measure, ...]:
    """Return mAP, MRR and Recall@k; `column` is one of the paper's Tables 16 to 18."""

    def printed(table: str) -> tuple[str, ...]:
        return (f"{table}:{column}",) if column else ()

    return (
        Measure("map", "Ret", True, printed("table16")),
        Measure("mrr", "Ret", paper=printed("table17")),
        Measure("recall1", "Ret"),
        Measure("recall5", "Ret", paper=printed("table18")),
        Measure("recall10", "Ret"),
    )


EFFICIENCY = (
    Measure("params", "Eff"),
    Measure("flops", "Eff"),
    Measure("latency", "Eff"),
    Measure("throughput", "Eff"),
    Measure("peak_memory", "Eff"),
    Measure("latency_ratio", "Eff", True),
    Measure("batch_ratio", "Eff", True),
)

CALIBRATION = (
    Measure("top1", "Cal"),
    Measure("ce", "Cal", True),
    Measure("ece", "Cal", True),
    Measure("ece_adaptive", "Cal"),
    Measure("ce_scaled", "Cal"),
    Measure("ece_scaled", "Cal"),
)

MULTI_LABEL = (Measure("mean_auc", "Cls", True),)


def shifted(*, ranked: bool, column: str = "") -> tuple[Measure, ...]:
    """Return top-1 on shifted images and its drop; `column` is one of the paper's Table 14."""
    paper = (f"table14:{column}",) if column else ()
    return Measure("top1", "OOD-Cls", ranked, paper), Measure("top1_drop", "OOD-Cls")


def attacked(*, ranked: bool, column: str = "") -> tuple[Measure, ...]:
    """Return top-1 under attack and without it; `column` is one of the paper's Table 19."""
    return Measure("top1", "Adv", ranked, (column,) if column else ()), Measure("top1_clean", "Adv")


def unranked(measures: tuple[Measure, ...]) -> tuple[Measure, ...]:
    """Return the measures, none of them ranked."""
    return tuple(replace(measure, ranked=False) for measure in measures)
