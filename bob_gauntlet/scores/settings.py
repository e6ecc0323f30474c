"""Every setting of the gauntlet: one table that suites, stores, baselines and reports agree on.

A setting is a protocol on a dataset, `linear-probe@photos`; a measure is one metric of it. Two settings whose results
must not be compared have different protocol ids. A setting marked `planned` has its id and measures but no reader or
protocol yet; a run skips it and says so.
"""

from collections.abc import Mapping

from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.scores.measures import (
    CALIBRATION,
    EFFICIENCY,
    IN_ALL,
    MULTI_LABEL,
    TASKS,
    Measure,
    Setting,
    attacked,
    classification,
    detection,
    retrieval,
    shifted,
    shifted_detection,
    unranked,
)
from bob_gauntlet.scores.score import METRICS, Scale

__all__ = [
    "IN_ALL", "SETTINGS", "TASKS", "Measure", "Setting", "find_setting", "ranked_measures", "setting_on_user_dataset",
    "settings_of_protocol",
]  # fmt: skip

_SHIFTS = ("photos-sketch", "photos-rendition", "photos-recollected", "photos-hard", "fonts-digits")
"""Mini counterparts of ImageNet-Sketch, -R, -V2, -A, and of VisDA's synthetic to real."""

_HEADS = ("linear-probe", "finetune")
"""Protocols whose classifiers are tested under shifts and attacks, and for calibration."""

_TRAINED = ("linear-probe", "linear-probe-lars", "finetune", "low-shot-10pct", "low-shot-1pct")
"""Protocols that train a classifier."""


def _mini(protocol: str, dataset: str, measures: tuple[Measure, ...], *, on_request: bool = False) -> Setting:
    """Return a setting of mini scale."""
    return Setting(protocol, dataset, ("mini",), measures, on_request=("mini",) if on_request else ())


_MINI = (
    *(_mini("linear-probe", d, classification("Cls", ranked=True)) for d in ("photos", "digits")),
    _mini("linear-probe", "digit-scenes", MULTI_LABEL),
    _mini("linear-probe-lars", "photos", classification("Cls", ranked=True)),
    *(_mini("finetune", d, classification("Cls", ranked=True)) for d in ("photos", "digits")),
    _mini("finetune", "digit-scenes", MULTI_LABEL),
    *(_mini("low-shot-10pct", d, classification("Cls", ranked=True)) for d in ("photos", "digits")),
    # one image a class; ten digits in all would teach nothing that can be told from chance
    _mini("low-shot-1pct", "photos", classification("Cls", ranked=True)),
    *(_mini("knn", d, classification("Cls", ranked=False)) for d in ("photos", "digits")),
    *(_mini("retrieval", d, retrieval()) for d in ("photos-instances", "copydays-mini")),
    *(_mini(f"ood-{head}", d, shifted(ranked=True)) for head in _HEADS for d in _SHIFTS),
    *(
        _mini(f"adversarial-{head}-eps{epsilon}", "photos", attacked(ranked=True))
        for head in _HEADS
        for epsilon in (1, 2)
    ),
    *(_mini("calibration-linear-probe", d, CALIBRATION) for d in ("photos", "digits")),
    _mini("calibration-finetune", "photos", CALIBRATION),
    *(_mini(f"detection-{mode}", "photo-scenes", detection(ranked=True)) for mode in ("frozen", "finetune")),
    # not ranked, as dear as fine-tuning, and without pretraining an AP near zero
    _mini("detection-scratch", "photo-scenes", detection(ranked=False), on_request=True),
    *(_mini(f"ood-detection-{mode}", "fonts-scenes", shifted_detection()) for mode in ("frozen", "finetune")),
    Setting("efficiency", "noise", ("mini", "paper"), EFFICIENCY),
)


def _paper(protocol: str, dataset: str, measures: tuple[Measure, ...], *, planned: bool = False) -> Setting:
    """Return a setting of paper scale."""
    return Setting(protocol, dataset, ("paper",), measures, planned=planned)


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
    _paper("linear-probe", "imagenet-1k", classification("Cls", ranked=True)),
    _paper("knn", "imagenet-1k", classification("Cls", ranked=False)),
    *(
        _paper(
            protocol,
            "imagenet-1k",
            classification("Cls", ranked=True, top1=[f"table08:{column}_top1"], top5=[f"table08:{column}_top5"]),
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
            classification(
                "Cls",
                ranked=True,
                top1=columns,
                top5=["table08:imagenet_ft_top5"] if dataset == "imagenet-1k" else [],
            ),
        )
        for dataset, columns in _FINETUNE_DATASETS.items()
    ),
    _paper("finetune", "chexpert", (Measure("mean_auc", "Cls", True, ("table09:chexpert",)),)),
    # Cal: Table 10; the settings of the cached linear probe are cheap, and not in the paper: measured, not ranked
    _paper(
        "calibration-finetune",
        "imagenet-1k",
        (
            Measure("top1", "Cal", paper=("table10:accuracy",)),
            Measure("ce", "Cal", True, ("table10:ce",)),
            Measure("ece", "Cal", True, ("table10:ece",)),
            *CALIBRATION[3:],
        ),
    ),
    _paper("calibration-linear-probe", "imagenet-1k", unranked(CALIBRATION)),
    # Det and Seg: Tables 11 to 13; the random backbones of Table 12 are such under `detection-finetune`, in its rank
    _paper("detection-frozen", "coco-2017", detection(ranked=True, table="table11")),
    _paper("detection-finetune", "coco-2017", detection(ranked=True, table="table12")),
    _paper("detection-scratch", "coco-2017", detection(ranked=False)),
    _paper("detection-finetune", "lvis-v1", detection(ranked=False, table="table13")),
    # OOD-Cls: Table 14
    *(_paper("ood-finetune", d, shifted(ranked=True, column=column)) for d, column in _OOD_DATASETS.items()),
    *(_paper("ood-linear-probe", d, shifted(ranked=False)) for d in _OOD_DATASETS),
    # OOD-Det: Table 15
    *(
        _paper(f"ood-detection-{mode}", "sim10k-cityscapes", shifted_detection(column))
        for mode, column in (("finetune", "map50_ft"), ("frozen", "map50_frozen"))
    ),
    # Ret: Tables 16 to 18
    *(_paper("retrieval", d, retrieval(column), planned=True) for d, column in _RETRIEVAL_DATASETS.items()),
    # Adv: Table 19
    *(
        _paper(f"adversarial-finetune-eps{e}", "imagenet-1k", attacked(ranked=True, column=f"table19:eps{e}"))
        for e in (1, 2)
    ),
    *(_paper(f"adversarial-linear-probe-eps{e}", "imagenet-1k", attacked(ranked=False)) for e in (1, 2)),
)

SETTINGS: Mapping[str, Setting] = {setting.id: setting for setting in (*_MINI, *_PAPER)}
"""Setting id -> setting, in the order of suites and reports."""


def find_setting(setting_id: str) -> Setting:
    """Return the setting of an id. Raises UsageError with the nearest ids where there is none.

    >>> find_setting("linear-probe@photos").measures[0].metric
    'top1'
    """
    if setting_id not in SETTINGS:
        raise UsageError(f"unknown setting {setting_id!r}{nearest(setting_id, SETTINGS)}")
    return SETTINGS[setting_id]


def setting_on_user_dataset(protocol: str, dataset: str, kind: str) -> Setting | None:
    """Return a protocol on a user's own dataset of a kind, not ranked; None where it needs another kind."""
    both: tuple[Scale, ...] = ("mini", "paper")
    if kind == "coco":
        detects = protocol in ("detection-frozen", "detection-finetune", "detection-scratch")
        return Setting(protocol, dataset, both, detection(ranked=False)) if detects else None
    if protocol in (*_TRAINED, "knn"):
        return Setting(protocol, dataset, both, (*classification("Cls", ranked=False), Measure("mean_auc", "Cls")))
    if protocol in [f"calibration-{head}" for head in _HEADS]:
        return Setting(protocol, dataset, both, unranked(CALIBRATION))
    if protocol in [f"adversarial-{head}-eps{epsilon}" for head in _HEADS for epsilon in (1, 2)]:
        return Setting(protocol, dataset, both, attacked(ranked=False))
    return None


def settings_of_protocol(
    protocol: str, scale: str, user_datasets: Mapping[str, str] | None = None, requested: str = ""
) -> list[Setting]:
    """Return the settings of a protocol at a scale, in the table's order, then those on a user's datasets.

    `user_datasets` maps names to kinds. Of the settings that run on request those are left out that `requested`, what
    the user typed to select settings, does not name.

    >>> [setting.id for setting in settings_of_protocol("finetune", "mini", {"mine": "folder"})][-1]
    'finetune@mine'
    """
    settings = [
        s
        for s in SETTINGS.values()
        if s.protocol == protocol and scale in s.scales and (scale not in s.on_request or s.is_requested(requested))
    ]
    on_user_datasets = [setting_on_user_dataset(protocol, *dataset) for dataset in (user_datasets or {}).items()]
    return settings + [setting for setting in on_user_datasets if setting is not None]


def ranked_measures(scale: str, task: str | None = None) -> list[tuple[str, str]]:
    """Return (setting, metric) of every ranked measure at a scale, of one task or of all, in the table's order."""
    return [
        (setting.id, measure.metric)
        for setting in SETTINGS.values()
        if scale in setting.scales
        for measure in setting.measures
        if measure.ranked and task in (None, measure.task)
    ]


assert all(m.metric in METRICS and m.task in TASKS for s in SETTINGS.values() for m in s.measures)
