"""A score: what was measured, on what, and how. Standard library only.

Three groups of fields answer three questions. Identity: is this the same measurement (`Score.identity`), and may two
backbones be compared on it (`difference`)? Value: what is the number? Provenance: where does it come from?
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from bob_gauntlet.errors import BobError
from bob_gauntlet.scores import quietness
from bob_gauntlet.scores.json_types import LARGEST, misfit
from bob_gauntlet.scores.provenance import Provenance, uneven_columns

Scale = Literal["mini", "paper"]
Fidelity = Literal["sound", "paper"]

Identity = tuple[tuple[str, Any], ...]
"""(field, value) of every field that makes two scores the same measurement; hashable."""


@dataclass(frozen=True)
class Metric:
    """The meaning of a number: its unit, and whether higher is better."""

    name: str
    unit: str
    higher_is_better: bool
    about: str
    # what two devices must have in common for two values to be compared: "" nothing, "kind" both a CPU or both a GPU,
    # "machine" the same name and the same speed of the calibration kernels
    device: Literal["", "kind", "machine"] = ""

    @property
    def sign(self) -> int:
        """+1 where higher is better, else -1; z-scores are multiplied by it."""
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
        Metric("latency_ratio", "x", False, "time of one image, in times that of a ResNet-18 beside it", "kind"),
        Metric("batch_ratio", "x", False, "time of a batch of images, in times that of a ResNet-18 beside it", "kind"),
        Metric("latency", "ms", False, "median time of one forward pass of one image", "machine"),
        Metric("throughput", "images/s", True, "median rate at the best batch size", "machine"),
        Metric("peak_memory", "MiB", False, "peak memory that the forward pass adds, at the best batch size", "kind"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Score:
    """One measured or published number, with everything that decides whether it may be compared.

    Two scores of equal identity are the same measurement of the same backbone: the second is read from the store
    instead of measured. Provenance is part of no key.
    """

    # what was measured: setting id "linear-probe@photos", a name of METRICS, a task of TASKS, the value in its unit
    setting: str
    metric: str
    task: str
    value: float
    # the backbone: the name that the user gave, and the digest of weights, architecture and code ("" where published)
    backbone: str
    backbone_fingerprint: str = ""
    # how: protocol hash, role -> dataset fingerprint, canonical input transform, numerics, first-N limit, seeds
    protocol_hash: str = ""
    datasets: Mapping[str, str] = field(default_factory=dict)
    transform: str = ""
    precision: str = ""
    limit: int | None = None
    # optimiser steps after which trainings were cut short
    max_steps: int | None = None
    seeds: tuple[int, ...] = (0,)
    # the device that ran it; part of the identity of efficiency scores only
    device: str = ""
    # which budget, whose choices where ours and the original's differ, and "run" or "table08:ResNet-50/Supervised"
    scale: Scale = "mini"
    fidelity: Fidelity = "sound"
    source: str = "run"
    # how the number was got
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise BobError(f"{self.setting}: unknown metric {self.metric!r}; known are {', '.join(METRICS)}")
        if not math.isfinite(self.value) or abs(self.value) > LARGEST:
            raise BobError(
                f"{self.setting}: {self.metric} of {self.backbone} is {self.value}, not a finite number "
                f"of at most {LARGEST:g}"
            )

    @property
    def measure(self) -> tuple[str, str]:
        """(setting, metric): one column of a score table."""
        return self.setting, self.metric

    @property
    def cut(self) -> str:
        """The limits by which the run was shortened: `first 8 examples, 2 steps`; "" for a whole measurement."""
        parts = [f"first {self.limit} examples"] * bool(self.limit) + [f"{self.max_steps} steps"] * bool(self.max_steps)
        return ", ".join(parts)

    @property
    def partial(self) -> str:
        """The share of the backbone that its checkpoint filled: `partial: 51% of ...`; "" for a whole one."""
        backbone = self.provenance.get("backbone")
        return str(backbone.get("partial", "")) if isinstance(backbone, Mapping) else ""

    @property
    def not_quiet(self) -> str:
        """Why this time must not be ranked: the machine was not quiet while it was measured; "" where it was."""
        timing = self.provenance.get("timing")
        return quietness.why_not_ranked(timing, self.setting, self.backbone, self.scale) if timing else ""

    @property
    def identity(self) -> Identity:
        """The fields that make two scores the same measurement."""
        return identity_of(vars(self))

    def to_dict(self) -> dict[str, Any]:
        """Return plain types for JSON: the inverse of `from_dict`. NaN and infinity in the provenance become None."""
        plain: dict[str, Any] = _finite(asdict(self))
        plain["seeds"] = list(self.seeds)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote. Raises BobError that says which field is missing, unknown or of a wrong type."""
        problem = misfit(plain, Score) or uneven_columns(plain.get("provenance", {}))
        if problem:
            raise BobError(f"not a score record: {problem}")
        return cls(**{**plain, "value": float(plain["value"]), "seeds": tuple(plain.get("seeds", (0,)))})


def difference(a: Score, b: Score) -> str | None:
    """Return the first field that forbids comparing two backbones' scores, or None where they are comparable.

    Comparable means equal identity apart from backbone and seeds. A published figure has neither protocol hash nor
    dataset fingerprints: it is compared by setting, scale and fidelity, and with runs over the full data only. At mini
    scale inputs have to be of one size, too: a backbone of one size takes part at that size only.

    >>> a = Score(setting="knn@photos", metric="top1", task="Cls", value=80.0, backbone="x", protocol_hash="p")
    >>> b = Score(setting="knn@photos", metric="top1", task="Cls", value=70.0, backbone="y", protocol_hash="q")
    >>> difference(a, b)
    'protocol_hash'
    """
    fields_of_a, fields_of_b = dict(a.identity), dict(b.identity)
    for name in ("scale", "fidelity", "partial"):
        fields_of_a[name], fields_of_b[name] = getattr(a, name), getattr(b, name)
    # an input transform belongs to its backbone; sizes are looked at separately
    ignored = {"backbone", "backbone_fingerprint", "seeds", "transform"}
    if not a.source == b.source == "run":
        ignored |= {"protocol_hash", "datasets", "precision", "device"}
    for name in sorted(fields_of_a, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST)):
        equal = _devices_compare(a, b) if name == "device" else fields_of_a[name] == fields_of_b.get(name)
        if name not in ignored and not equal:
            return name
    return INPUT_SIZE if differs_in_size(a, b) else None


INPUT_SIZE = "input size"
"""The answer of `difference` where only the input sizes differ."""

SIZE_TOLERANCE = 1.1
"""Largest ratio of two input sizes that are compared: patches of 14 px make 98 of 96 px, and 70 of 64."""

_OWN_SIZE_TASKS = ("Det", "Seg", "OOD-Det")
"""Tasks whose images have a size of their own, whatever the size in a backbone's input transform is."""


def input_pixels(score: Score) -> int | None:
    """Return the side of the input in pixels that a score's transform names; None where it names none.

    >>> input_pixels(Score(setting="knn@photos", metric="top1", task="Cls", value=1, backbone="x", transform="96px"))
    96
    """
    pixels = score.transform.partition("px")[0]
    return int(pixels) if pixels.isdecimal() and len(pixels) < 10 else None


def differs_in_size(a: Score, b: Score) -> bool:
    """Tell whether two scores of mini scale were measured at input sizes that are not compared.

    At paper scale each backbone has the input size that it was made for, as in the paper.
    """
    sizes = [size for size in (input_pixels(a), input_pixels(b)) if size]
    if not a.scale == b.scale == "mini" or a.task in _OWN_SIZE_TASKS or len(sizes) < 2:
        return False
    return max(sizes) > SIZE_TOLERANCE * min(sizes)


def device_kind(device: str) -> str:
    """Return "cpu" or "gpu" for a device as scores store it; "" for an unknown one.

    >>> device_kind("cpu: AMD EPYC, 2 cores"), device_kind("NVIDIA H100 80GB HBM3"), device_kind("")
    ('cpu', 'gpu', '')
    """
    return "cpu" if device.startswith("cpu") else "gpu" if device else ""


def _devices_compare(a: Score, b: Score) -> bool:
    """Tell whether the devices of two scores are as alike as their metric asks for."""
    wanted = METRICS[a.metric].device
    if wanted == "machine":
        return a.device == b.device and quietness.same_speed(a.provenance.get("timing"), b.provenance.get("timing"))
    return wanted == "" or device_kind(a.device) == device_kind(b.device)


_FIRST = ("scale", "limit", "max_steps", "partial", "fidelity")
"""Fields that `difference` looks at first: a shortened run, or a part of a backbone, is comparable at no fidelity."""


_IDENTITY = (
    "setting", "metric", "protocol_hash", "datasets", "backbone_fingerprint", "transform", "precision", "limit",
    "max_steps", "seeds",
)  # fmt: skip


def identity_of(fields: Mapping[str, Any]) -> Identity:
    """Return the identity of a score with these fields (name -> value); it has the device where the task is Eff."""
    names = (*_IDENTITY, "device") if fields["task"] == "Eff" else _IDENTITY
    return tuple((name, _hashable(fields[name])) for name in names)


def _finite(value: Any) -> Any:
    """Return a value of plain types, with None for numbers that JSON cannot hold.

    >>> _finite({"curve": [0.5, math.nan]})
    {'curve': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _hashable(value: Any) -> Any:
    """Return a mapping as sorted pairs and a list as a tuple."""
    if isinstance(value, Mapping):
        return tuple(sorted(value.items()))
    return tuple(value) if isinstance(value, list) else value
