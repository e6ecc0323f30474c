"""A score: what was measured, of what, how it was got. Standard library only.

Three groups of fields (identity, value, provenance) answer three questions: is this the same measurement
(`Score.identity`), may two backbones be compared on it (`difference`), and where does the number come from.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from bob_gauntlet.errors import BobError

Scale = Literal["mini", "paper"]
Fidelity = Literal["sound", "paper"]


@dataclass(frozen=True)
class Metric:
    """What a number means: its unit and which way is better."""

    name: str
    unit: str
    higher_is_better: bool
    about: str

    @property
    def sign(self) -> int:
        """+1 where higher is better, else -1: a z-score is multiplied by it."""
        return 1 if self.higher_is_better else -1


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("top1", "%", True, "test images whose most likely class is the true one"),
        Metric("top5", "%", True, "test images whose true class is among the five most likely"),
        Metric("top1_clean", "%", True, "the same test images without the attack"),
        Metric("top1_drop", "%", False, "points that top-1 loses against test images of the training source"),
        Metric("mean_auc", "%", True, "area under the ROC curve, mean over the labels"),
        Metric("map", "%", True, "mean average precision over the queries"),
        Metric("mrr", "", True, "mean of 1 / rank of the first relevant image"),
        Metric("recall1", "", True, "relevant images among the first 1 / all relevant, mean over the queries"),
        Metric("recall5", "", True, "relevant images among the first 5 / all relevant, mean over the queries"),
        Metric("recall10", "", True, "relevant images among the first 10 / all relevant, mean over the queries"),
        Metric("ap_box", "%", True, "COCO box average precision, IoU .50:.95"),
        Metric("ap50_box", "%", True, "COCO box average precision at IoU .50"),
        Metric("ap75_box", "%", True, "COCO box average precision at IoU .75"),
        Metric("ap_mask", "%", True, "COCO mask average precision, IoU .50:.95"),
        Metric("ap50_mask", "%", True, "COCO mask average precision at IoU .50"),
        Metric("ap75_mask", "%", True, "COCO mask average precision at IoU .75"),
        Metric("ce", "nats", False, "cross-entropy of the true class"),
        Metric("ece", "", False, "expected calibration error, 15 equal-width confidence bins"),
        Metric("ece_adaptive", "", False, "expected calibration error, 15 bins of equal count"),
        Metric("ce_scaled", "nats", False, "cross-entropy after temperature scaling on validation images"),
        Metric("ece_scaled", "", False, "expected calibration error after temperature scaling on validation images"),
        Metric("params", "M", False, "parameters of the backbone, without a classifier"),
        Metric("flops", "GFLOPs", False, "floating-point operations of one forward pass of one image (2 per MAC)"),
        Metric("latency", "ms", False, "median time of one forward pass of one image"),
        Metric("throughput", "images/s", True, "median rate at the best batch size"),
        Metric("peak_memory", "MiB", False, "peak memory that the forward pass adds, at the best batch size"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Score:
    """One measured or published number with everything that tells whether it may be compared.

    Identity: two scores with equal identity are the same measurement of the same backbone, and the second is
    read from the store instead of measured. Provenance is in no key.
    """

    # what: setting id "linear-probe@photos", a METRICS name, a task of settings.TASKS, the value in its unit
    setting: str
    metric: str
    task: str
    value: float
    # of what: the name that the user gave, and the digest of weights, architecture and code (absent in print)
    backbone: str
    backbone_fingerprint: str = ""
    # how: protocol hash, dataset fingerprint by role, canonical input transform, numerics, first-N limit, seeds
    protocol_hash: str = ""
    datasets: Mapping[str, str] = field(default_factory=dict)
    transform: str = ""
    precision: str = ""
    limit: int | None = None
    # where trainings were cut short: optimiser steps
    max_steps: int | None = None
    seeds: tuple[int, ...] = (0,)
    # the device that ran it; in the identity only of efficiency scores
    device: str = ""
    # which budget, whose choices where the original's are not sound, and "run" or "table08:ResNet-50/Supervised"
    scale: Scale = "mini"
    fidelity: Fidelity = "sound"
    source: str = "run"
    # open: n, stderr, stderr_how, chosen hyper-parameters, versions, commit, command, started, seconds, digests
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise BobError(f"{self.setting}: unknown metric {self.metric!r}; known are {', '.join(METRICS)}")
        if not math.isfinite(self.value):
            raise BobError(f"{self.setting}: {self.metric} of {self.backbone} is {self.value}, not a finite number")

    @property
    def measure(self) -> tuple[str, str]:
        """(setting, metric): the row of a table."""
        return self.setting, self.metric

    @property
    def cut(self) -> str:
        """What the session was cut to, as text: `first 8 examples, 2 steps`; "" for a whole measurement."""
        parts = [f"first {self.limit} examples"] * bool(self.limit) + [f"{self.max_steps} steps"] * bool(self.max_steps)
        return ", ".join(parts)

    @property
    def identity(self) -> tuple[tuple[str, Any], ...]:
        """The fields that make two scores the same measurement, hashable."""
        return tuple((name, _hashable(getattr(self, name))) for name in _identity_fields(self.task))

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for JSON; the inverse of `from_dict`. In the provenance NaN and infinity are None."""
        plain: dict[str, Any] = _finite(asdict(self))
        plain["seeds"] = list(self.seeds)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote. Raises BobError that names a missing or unknown field."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(plain) - known)
        missing = sorted({"setting", "metric", "task", "value", "backbone"} - set(plain))
        if unknown or missing:
            what = [f"unknown {', '.join(unknown)}"] * bool(unknown) + [f"no {', '.join(missing)}"] * bool(missing)
            raise BobError(f"not a score record: {'; '.join(what)}")
        value = plain["value"]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BobError(f"not a score record: value {value!r} is not a number")
        return cls(**{**plain, "value": float(value), "seeds": tuple(plain.get("seeds", (0,)))})


def difference(a: Score, b: Score) -> str | None:
    """The first field that forbids comparing two backbones' scores, or None where they are comparable.

    Comparable is equal identity without backbone and seeds. A published figure has neither protocol hash nor dataset
    fingerprints: it is compared by setting, scale and fidelity, and with runs over the full data only.

    >>> a = Score(setting="knn@photos", metric="top1", task="Cls", value=80.0, backbone="x", protocol_hash="p")
    >>> b = Score(setting="knn@photos", metric="top1", task="Cls", value=70.0, backbone="y", protocol_hash="q")
    >>> difference(a, b)
    'protocol_hash'
    """
    own = ("backbone", "backbone_fingerprint", "seeds")
    mine, yours = dict(a.identity), dict(b.identity)
    for name in ("scale", "fidelity"):
        mine[name], yours[name] = getattr(a, name), getattr(b, name)
    # an input transform belongs to its backbone: only the size is the protocol's, and that is in its hash
    printed = not (a.source == b.source == "run")
    skipped = {*own, "transform", *(("protocol_hash", "datasets", "precision", "device") if printed else ())}
    for name in sorted(mine, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST)):
        if name not in skipped and mine[name] != yours.get(name):
            return name
    return None


_FIRST = ("scale", "limit", "max_steps", "fidelity")
"""Which of several differences is named: what was cut is no measurement of any fidelity."""


def _identity_fields(task: str) -> tuple[str, ...]:
    common = (
        "setting",
        "metric",
        "protocol_hash",
        "datasets",
        "backbone_fingerprint",
        "transform",
        "precision",
        "limit",
        "max_steps",
        "seeds",
    )
    return (*common, "device") if task == "Eff" else common


def _finite(value: Any) -> Any:
    """A value of plain types, with None for numbers that JSON has not.

    >>> _finite({"curve": [0.5, math.nan]})
    {'curve': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: _finite(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(sorted(value.items()))
    return tuple(value) if isinstance(value, list) else value
