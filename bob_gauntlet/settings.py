"""Every setting of the gauntlet: one table that suites, stores, baselines and reports agree on.

A setting is a protocol on a dataset, `linear-probe@photos`; a measure is one metric of it. Ids are fixed here once:
protocol ids differ wherever results must not be compared. A setting marked `planned` has its id and measures, and
its protocol comes later; asking for it says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.scores import METRICS, Scale

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
    """One metric of a setting: the task it counts for, whether it is ranked, and the paper's columns for it."""

    metric: str
    task: str
    ranked: bool = False
    paper: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """A protocol on a dataset, the scales at which it runs, and what it measures."""

    protocol: str
    dataset: str
    scales: tuple[Scale, ...]
    measures: tuple[Measure, ...]
    planned: bool = False

    @property
    def id(self) -> str:
        """`protocol@dataset`."""
        return f"{self.protocol}@{self.dataset}"

    def measure(self, metric: str) -> Measure:
        """The measure of that metric; UsageError where this setting has none."""
        for measure in self.measures:
            if measure.metric == metric:
                return measure
        known = ", ".join(m.metric for m in self.measures)
        raise UsageError(f"{self.id} has no metric {metric!r}; it has {known}")


def _classification(
    task: str, *, ranked: bool, top1: Iterable[str] = (), top5: Iterable[str] = ()
) -> tuple[Measure, ...]:
    return Measure("top1", task, ranked, tuple(top1)), Measure("top5", task, paper=tuple(top5))


def _detection(box: str, mask: str, table: str, *, ranked: bool) -> tuple[Measure, ...]:
    return tuple(
        Measure(f"{ap}_{kind}", task, ranked and ap == "ap", (f"{table}:{ap}_{kind}",))
        for kind, task in (("box", box), ("mask", mask))
        for ap in ("ap", "ap50", "ap75")
    )


def _retrieval(column: str = "") -> tuple[Measure, ...]:
    def printed(table: str) -> tuple[str, ...]:
        return (f"{table}:{column}",) if column else ()

    return (
        Measure("map", "Ret", True, printed("table16")),
        Measure("mrr", "Ret", paper=printed("table17")),
        Measure("recall1", "Ret"),
        Measure("recall5", "Ret", paper=printed("table18")),
        Measure("recall10", "Ret"),
    )


_EFFICIENCY = (
    Measure("params", "Eff"),
    Measure("flops", "Eff"),
    Measure("latency", "Eff", True),
    Measure("throughput", "Eff", True),
    Measure("peak_memory", "Eff"),
)

_CALIBRATION = (
    Measure("top1", "Cal"),
    Measure("ce", "Cal", True),
    Measure("ece", "Cal", True),
    Measure("ece_adaptive", "Cal"),
    Measure("ce_scaled", "Cal"),
    Measure("ece_scaled", "Cal"),
)

_SHIFTS = ("photos-sketch", "photos-rendition", "photos-recollected", "photos-hard", "fonts-digits")
"""Mini twins of ImageNet-Sketch, -R, -V2, -A, and of VisDA's synthetic to real."""

_RUNNING = (
    *(
        Setting("linear-probe", dataset, ("mini",), _classification("Cls", ranked=True))
        for dataset in ("photos", "digits")
    ),
    *(Setting("knn", dataset, ("mini",), _classification("Cls", ranked=False)) for dataset in ("photos", "digits")),
    *(Setting("retrieval", dataset, ("mini",), _retrieval()) for dataset in ("photos-instances", "copydays-mini")),
    *(
        Setting(
            "ood-linear-probe", dataset, ("mini",), (Measure("top1", "OOD-Cls", True), Measure("top1_drop", "OOD-Cls"))
        )
        for dataset in _SHIFTS
    ),
    *(
        Setting(
            f"adversarial-linear-probe-eps{epsilon}",
            "photos",
            ("mini",),
            (Measure("top1", "Adv", True), Measure("top1_clean", "Adv")),
        )
        for epsilon in (1, 2)
    ),
    *(Setting("calibration-linear-probe", dataset, ("mini",), _CALIBRATION) for dataset in ("photos", "digits")),
    Setting("efficiency", "noise", ("mini", "paper"), _EFFICIENCY),
)


def _paper(protocol: str, dataset: str, measures: tuple[Measure, ...]) -> Setting:
    return Setting(protocol, dataset, ("paper",), measures, planned=True)


_FINETUNE_DATASETS = {
    "imagenet-1k": ("table08:imagenet_ft_top1", "table09:imagenet", "table19:clean"),
    "cifar-100": ("table09:cifar100",),
    "flowers-102": ("table09:flowers102",),
    "fgvc-aircraft": ("table09:aircraft",),
    "eurosat": ("table09:eurosat",),
}

_RETRIEVAL_DATASETS = {
    "cub-200": "cub",
    "inaturalist": "inat",
    "objectnet": "objectnet",
    "instre": "instre",
    "gldv2": "gldv2",
    "roxford5k": "roxford",
    "rparis6k": "rparis",
    "copydays": "copydays",
}

_OOD_DATASETS = {
    "imagenet-a": "imagenet_a",
    "imagenet-r": "imagenet_r",
    "imagenet-sketch": "imagenet_s",
    "imagenet-v2": "imagenet_v2",
    "visda-2017": "visda",
}

_PAPER = (
    # Cls: Tables 8 and 9
    _paper("linear-probe", "imagenet-1k", _classification("Cls", ranked=True)),
    _paper("knn", "imagenet-1k", _classification("Cls", ranked=False)),
    *(
        _paper(
            protocol,
            "imagenet-1k",
            _classification("Cls", ranked=True, top1=[f"table08:{column}_top1"], top5=[f"table08:{column}_top5"]),
        )
        for protocol, column in (
            ("linear-probe-lars", "imagenet_lp"),
            ("low-shot-10pct", "imagenet_10pct"),
            ("low-shot-1pct", "imagenet_1pct"),
        )
    ),
    *(
        _paper(
            "finetune",
            dataset,
            _classification(
                "Cls",
                ranked=True,
                top1=columns,
                top5=["table08:imagenet_ft_top5"] if dataset == "imagenet-1k" else [],
            ),
        )
        for dataset, columns in _FINETUNE_DATASETS.items()
    ),
    _paper("finetune", "chexpert", (Measure("mean_auc", "Cls", True, ("table09:chexpert",)),)),
    # Cal: Table 10
    _paper(
        "calibration-finetune",
        "imagenet-1k",
        (
            Measure("top1", "Cal", paper=("table10:accuracy",)),
            Measure("ce", "Cal", True, ("table10:ce",)),
            Measure("ece", "Cal", True, ("table10:ece",)),
        ),
    ),
    # Det and Seg: Tables 11 to 13; a scratch run is a random backbone under `detection-finetune`, as in Table 12
    _paper("detection-frozen", "coco-2017", _detection("Det", "Seg", "table11", ranked=True)),
    _paper("detection-finetune", "coco-2017", _detection("Det", "Seg", "table12", ranked=True)),
    _paper("detection-finetune", "lvis-v1", _detection("Det", "Seg", "table13", ranked=False)),
    # OOD-Cls: Table 14
    *(
        _paper("ood-finetune", dataset, (Measure("top1", "OOD-Cls", True, (f"table14:{column}",)),))
        for dataset, column in _OOD_DATASETS.items()
    ),
    # OOD-Det: Table 15
    *(
        _paper(
            f"ood-detection-{mode}",
            "sim10k-cityscapes",
            (Measure("ap50_box", "OOD-Det", True, (f"table15:{column}",)),),
        )
        for mode, column in (("finetune", "map50_ft"), ("frozen", "map50_frozen"))
    ),
    # Ret: Tables 16 to 18
    *(_paper("retrieval", dataset, _retrieval(column)) for dataset, column in _RETRIEVAL_DATASETS.items()),
    # Adv: Table 19
    *(
        _paper(
            f"adversarial-finetune-eps{epsilon}",
            "imagenet-1k",
            (Measure("top1", "Adv", True, (f"table19:eps{epsilon}",)),),
        )
        for epsilon in (1, 2)
    ),
)

SETTINGS: Mapping[str, Setting] = {setting.id: setting for setting in (*_RUNNING, *_PAPER)}
"""Setting id -> setting, in the order of suites and reports."""


def find(setting_id: str) -> Setting:
    """The setting of that id; UsageError with the nearest ids where there is none.

    >>> find("linear-probe@photos").measures[0].metric
    'top1'
    """
    if setting_id not in SETTINGS:
        raise UsageError(f"unknown setting {setting_id!r}{nearest(setting_id, SETTINGS)}")
    return SETTINGS[setting_id]


def of_protocol(protocol: str, scale: str) -> list[Setting]:
    """The settings of one protocol at one scale, in the table's order."""
    return [s for s in SETTINGS.values() if s.protocol == protocol and scale in s.scales]


def ranked_measures(scale: str, task: str | None = None) -> list[tuple[str, str]]:
    """(setting, metric) of every ranked measure at a scale, of one task or of all, in the table's order."""
    return [
        (setting.id, measure.metric)
        for setting in SETTINGS.values()
        if scale in setting.scales
        for measure in setting.measures
        if measure.ranked and task in (None, measure.task)
    ]


assert all(m.metric in METRICS and m.task in TASKS for s in SETTINGS.values() for m in s.measures)
