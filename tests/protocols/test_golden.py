"""Golden canonical forms and values of every recipe.

Where a test here fails, the recipe computes something else than the stored scores of its version.
"""

from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.engine.seeding import seeded
from bob_gauntlet.protocols.adversarial import Adversarial
from bob_gauntlet.protocols.calibration import Calibration
from bob_gauntlet.protocols.detection import Detection, OODDetection
from bob_gauntlet.protocols.efficiency import Efficiency
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.knn import KNN
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.linear_probe_lars import LinearProbeLARS
from bob_gauntlet.protocols.low_shot import LowShot
from bob_gauntlet.protocols.ood import OOD
from bob_gauntlet.protocols.recipe import Measured, at_scale, canonical, protocol_hash
from bob_gauntlet.protocols.retrieval import Retrieval
from tests.helpers import tiny
from tests.helpers.contexts import context_in
from tests.helpers.synthetic_splits import classification_dataset, pixel_backbone

CHANGED = "the value changed: raise the version"

FINETUNE: dict[str, Any] = {"id": "finetune", "version": 1}
FINETUNE_MINI: dict[str, Any] = {
    **FINETUNE, "input_size": 64, "epochs": 5, "warmup_epochs": 1, "batch": 32, "lrs": [2e-3], "scratch_lrs": [],
    "weight_decays": [0.05], "per_step": True, "mixup": 0.0, "cutmix": 0.0, "erasing": 0.0, "amp": False,
    "stop_beaten": True,
}  # fmt: skip
LOW_SHOT: dict[str, Any] = {
    **FINETUNE, "epochs": 60, "lrs": [5e-4, 2.5e-4, 1e-4], "scratch_lrs": [], "weight_decays": [0.05],
    "layer_decays": [0.65, 0.75], "conv_sgd_lrs": [0.1, 0.05],
}  # fmt: skip
LOW_SHOT_MINI: dict[str, Any] = {
    **{name: value for name, value in FINETUNE_MINI.items() if name != "per_step"},
    "epochs": 40, "lrs": [2e-3, 5e-4], "conv_sgd_lrs": [0.01],
}  # fmt: skip
NO_MIXING: dict[str, Any] = {"mixup": 0.0, "cutmix": 0.0, "erasing": 0.0}

DETECTION_MINI: dict[str, Any] = {
    "epochs": 8, "drops": [6, 7], "warmup_steps": 20, "batch": 4, "micro_batch": 4, "lrs": [5e-4], "drop_path": 0.0,
    "clip": 10.0, "augmentation": "as tests", "short_side": 128, "long_side": 160, "channels": 32, "linear": 128,
    "anchors": 128, "regions": 24, "proposals": [200, 100], "detections": 20, "samples": 1, "amp": False,
}  # fmt: skip
FROZEN: dict[str, Any] = {"id": "detection-frozen", "version": 1, "mode": "frozen"}

# sha256 over the canonical JSON, first 16 digits, as of the stated version of each recipe
GOLDEN: list[tuple[Any, str, dict[str, Any], str]] = [
    (LinearProbe(), "paper", {"id": "linear-probe", "version": 2}, "35a6487f9f75bf80"),
    (LinearProbe(), "mini", {"id": "linear-probe", "version": 2, "input_size": 96}, "c55b58a4daf9ae9d"),
    (KNN(), "paper", {"id": "knn", "version": 1}, "d9e23e3150269a3d"),
    (KNN(), "mini", {"id": "knn", "version": 1, "input_size": 96}, "f753d42f3693ddb3"),
    (Retrieval(), "paper", {"id": "retrieval", "version": 1}, "104f00ad14d1f5e1"),
    (Retrieval(), "mini", {"id": "retrieval", "version": 1, "input_size": 96}, "178fb8a19aa20d03"),
    (
        Calibration(),
        "paper",
        {"id": "calibration-linear-probe", "version": 1, "head": {"id": "linear-probe", "version": 2}},
        "dd4c2db6aad2905c",
    ),
    (
        Calibration(),
        "mini",
        {
            "id": "calibration-linear-probe",
            "version": 1,
            "head": {"id": "linear-probe", "version": 2, "input_size": 96},
        },
        "c7b07ded31d098aa",
    ),
    (
        Adversarial(),
        "paper",
        {"id": "adversarial-linear-probe-eps1", "version": 1, "head": {"id": "linear-probe", "version": 2}},
        "80964b25cb8e6284",
    ),
    (
        Adversarial(epsilon_255=2, success="any"),
        "mini",
        {
            "id": "adversarial-linear-probe-eps2-any",
            "version": 1,
            "head": {"id": "linear-probe", "version": 2, "input_size": 96},
            "epsilon_255": 2,
            "success": "any",
            "images": 63,
        },
        "ef20003ccefa0f1e",
    ),
    (
        Adversarial(epsilon_255=2),
        "mini",
        {
            "id": "adversarial-linear-probe-eps2",
            "version": 1,
            "head": {"id": "linear-probe", "version": 2, "input_size": 96},
            "epsilon_255": 2,
            "images": 63,
        },
        "21fe13aaeef82c91",
    ),
    (
        OOD(),
        "paper",
        {"id": "ood-linear-probe", "version": 1, "head": {"id": "linear-probe", "version": 2}},
        "d901e5be36a73bb6",
    ),
    (
        OOD(),
        "mini",
        {"id": "ood-linear-probe", "version": 1, "head": {"id": "linear-probe", "version": 2, "input_size": 96}},
        "14752c7411227460",
    ),
    (Efficiency(), "paper", {"id": "efficiency", "version": 3}, "8133292e2f685cdd"),
    (
        Efficiency(),
        "mini",
        {"id": "efficiency", "version": 3, "input_size": 96, "batches": [8, 32], "repeats": 15, "ratio_batch": 8},
        "6e2febd5c79c24f0",
    ),
    (FineTune(), "paper", FINETUNE, "3cbd74f67fd24b51"),
    (FineTune(), "mini", FINETUNE_MINI, "b1f84ee7dac7bdbe"),
    (LowShot(), "paper", {"id": "low-shot-10pct", "version": 1, "tuning": LOW_SHOT}, "86f2d314d36fcefa"),
    (LowShot(), "mini", {"id": "low-shot-10pct", "version": 1, "tuning": LOW_SHOT_MINI}, "f19e0228b8a9d344"),
    (
        LowShot(fraction=0.01),
        "paper",
        {"id": "low-shot-1pct", "version": 1, "fraction": 0.01, "tuning": {**LOW_SHOT, **NO_MIXING}},
        "52b28c60506a2969",
    ),
    (
        LowShot(fraction=0.01),
        "mini",
        {"id": "low-shot-1pct", "version": 1, "fraction": 0.01, "tuning": LOW_SHOT_MINI},
        "4f10b1fb11ac49a1",
    ),
    (LinearProbeLARS(), "paper", {"id": "linear-probe-lars", "version": 1}, "1034ba6ace2a73e3"),
    (
        LinearProbeLARS(),
        "mini",
        {
            "id": "linear-probe-lars", "version": 1, "input_size": 64, "epochs": 12, "warmup_epochs": 1, "batch": 32,
            "base_lr": 50.0, "amp": False,
        },
        "070c3705e2b289ec",
    ),
    (OOD(head=FineTune()), "paper", {"id": "ood-finetune", "version": 1, "head": FINETUNE}, "524c86b27ef9ba8b"),
    (OOD(head=FineTune()), "mini", {"id": "ood-finetune", "version": 1, "head": FINETUNE_MINI}, "f4295e85059ab603"),
    (
        Calibration(head=FineTune()),
        "paper",
        {"id": "calibration-finetune", "version": 1, "head": FINETUNE},
        "2223b831e90a126d",
    ),
    (
        Calibration(head=FineTune()),
        "mini",
        {"id": "calibration-finetune", "version": 1, "head": FINETUNE_MINI},
        "1da2d5db9b5be0ae",
    ),
    (
        Adversarial(head=FineTune()),
        "paper",
        {"id": "adversarial-finetune-eps1", "version": 1, "head": FINETUNE},
        "68efdc2729278609",
    ),
    (
        Adversarial(head=FineTune(), epsilon_255=2),
        "mini",
        {"id": "adversarial-finetune-eps2", "version": 1, "head": FINETUNE_MINI, "epsilon_255": 2, "images": 63},
        "e49db2b99ca060a0",
    ),
    (Detection(), "paper", {"id": "detection-finetune", "version": 1}, "02ffcec69feafb56"),
    (Detection(), "mini", {"id": "detection-finetune", "version": 1, **DETECTION_MINI}, "ecaa635a8b9401ff"),
    (Detection(mode="frozen"), "mini", {**FROZEN, **DETECTION_MINI}, "280655b5a5695320"),
    (
        OODDetection(Detection(mode="frozen", masks=False)),
        "mini",
        {"id": "ood-detection-frozen", "version": 1, "detector": {**FROZEN, "masks": False, **DETECTION_MINI}},
        "b08e839c26db7d4d",
    ),
]  # fmt: skip

# the defaults of fields are not in the hashes, so they are pinned here
DEFAULTS: list[tuple[Any, dict[str, Any]]] = [
    (
        LinearProbe(),
        {
            "input_size": None,
            "strengths": (
                10.0, 4.642, 2.154, 1.0, 0.4642, 0.2154, 0.1, 0.04642, 0.02154, 0.01, 0.004642, 0.002154, 0.001,
                0.0004642, 0.0002154, 0.0001, 4.642e-05, 2.154e-05, 1e-05, 4.642e-06, 2.154e-06,
            ),
        },
    ),
    (KNN(), {"input_size": None, "ks": (1, 5, 10, 20), "temperature": 0.07}),
    (Retrieval(), {"input_size": None, "average_precision": "trapezoid", "fidelity": "sound"}),
    (Calibration(), {"head": LinearProbe(), "bins": 15}),
    (
        Adversarial(),
        {
            "head": LinearProbe(), "epsilon_255": 1, "steps": 20, "success": "last", "random_start": False,
            "images": None,
        },
    ),
    (OOD(), {"head": LinearProbe()}),
    (
        Efficiency(),
        {
            "input_size": None, "batches": (1, 8, 32, 128, 256), "warmup": 3, "repeats": 30, "reference": "resnet18",
            "ratio_batch": 32, "attempts": 3,
        },
    ),
    (
        FineTune(),
        {
            "input_size": None, "fidelity": "sound", "epochs": 100, "warmup_epochs": 5, "warmup_lr": 1e-4,
            "min_lr": 1e-6, "batch": 1024, "micro_batch": 128, "lrs": (1e-3, 5e-4, 1e-4), "scratch_lrs": (1e-2, 5e-3),
            "weight_decays": (5e-2, 1e-3), "layer_decays": (0.75,), "conv_sgd_lrs": (), "drop_path": 0.1, "mixup": 0.8,
            "cutmix": 1.0, "smoothing": 0.1, "auto_augment": "rand-m9-mstd0.5-inc1", "erasing": 0.25, "amp": True,
            "per_step": False, "stop_beaten": False,
        },
    ),
    (
        LowShot(),
        {
            "fraction": 0.1,
            "tuning": FineTune(
                epochs=60, lrs=(5e-4, 2.5e-4, 1e-4), scratch_lrs=(), weight_decays=(5e-2,), layer_decays=(0.65, 0.75),
                conv_sgd_lrs=(0.1, 0.05),
            ),
        },
    ),
    (
        LinearProbeLARS(),
        {
            "input_size": None, "fidelity": "sound", "epochs": 90, "warmup_epochs": 10, "batch": 4096,
            "micro_batch": 512, "base_lr": 0.1, "amp": True,
        },
    ),
    (
        Detection(),
        {
            "mode": "finetune", "input_size": None, "fidelity": "sound", "masks": True, "epochs": 36, "drops": (27, 33),
            "warmup_steps": 1000, "batch": 16, "micro_batch": 2, "lrs": (8e-5, 1e-4, 2e-4, 3e-4), "weight_decay": 0.05,
            "drop_path": 0.1, "clip": None, "augmentation": "auto", "short_side": 800, "long_side": 1333,
            "jitter_side": 1024, "jitter_short": 1024, "last_map": "wide", "channels": 256, "linear": 1024,
            "anchors": 256, "regions": 512, "proposals": (2000, 1000), "detections": 100, "least_score": 0.05,
            "samples": 0, "rare_below": 0.0, "amp": True,
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("recipe", "scale", "form", "digest"), GOLDEN, ids=lambda value: str(value)[:24])
def test_the_canonical_form_is_the_stored_one(recipe: Any, scale: str, form: dict[str, Any], digest: str) -> None:
    """Canonical form and hash are the stored ones, at both scales."""
    scaled = at_scale(recipe, scale)
    assert canonical(scaled) == form, CHANGED
    assert protocol_hash(scaled) == digest, CHANGED


@pytest.mark.parametrize(("recipe", "defaults"), DEFAULTS, ids=lambda value: str(value)[:12])
def test_the_defaults_are_those_of_this_version(recipe: Any, defaults: dict[str, Any]) -> None:
    """The defaults are the stored ones: a changed default changes no hash, so it needs a new version."""
    assert vars(recipe) == defaults, CHANGED


def measure(recipe: Any, dataset: Dataset, folder: Path) -> dict[str, Measured]:
    """Return metric -> what was measured on the synthetic backbone."""
    return {m.metric: m for m in recipe.evaluate(pixel_backbone(), dataset, context_in(folder))}


# test_evaluate.py compares each recipe with scikit-learn or with its definition on this data.
# One test image of 96 is 1.05 points.
def test_knn_gives_the_golden_value(tmp_path: Path) -> None:
    """Both accuracies have the stored values, to one image."""
    measured = measure(KNN(), classification_dataset()[0], tmp_path)
    assert measured["top1"].value == pytest.approx(100 * 49 / 96, abs=1.05), CHANGED
    assert measured["top5"].value == pytest.approx(100 * 79 / 96, abs=1.05), CHANGED


def test_linear_probe_gives_the_golden_value(tmp_path: Path) -> None:
    """Both accuracies have the stored values, to one image."""
    measured = measure(LinearProbe(strengths=(1.0, 0.2154, 0.04642)), classification_dataset()[0], tmp_path)
    assert measured["top1"].value == pytest.approx(100 * 63 / 96, abs=1.05), CHANGED
    assert measured["top5"].value == pytest.approx(100 * 95 / 96, abs=1.05), CHANGED


@pytest.mark.parametrize(("kind", "loss"), [("resnet", 5.4556), ("vit 16", 4.0119)])
def test_a_detector_gives_the_golden_loss(kind: str, loss: float) -> None:
    """The loss of two images before any step depends on heads, initialisation, matching and all losses."""
    from tests.helpers import shapes

    with shapes.nothing_missing():
        detector = shapes.detector(shapes.backbone(kind)).train()
    with seeded(0):
        computed_loss = float(detector.loss([shapes.sample(64, 80), shapes.sample(72, 64)]).detach())
    assert computed_loss == pytest.approx(loss, rel=1e-3), CHANGED


def test_retrieval_gives_the_golden_value(tmp_path: Path) -> None:
    """With training images as gallery of their class, all metrics have the stored values.

    Rounding changes ranks only where images tie.
    """
    whole, _ = classification_dataset()
    dataset = Dataset("synthetic", {"query": whole["test"], "gallery": whole["train"]}, classes=whole.classes)
    values = {metric: m.value for metric, m in measure(Retrieval(), dataset, tmp_path).items()}
    golden = {"map": 34.2531, "mrr": 0.64457, "recall1": 0.0239583, "recall5": 0.105729, "recall10": 0.1875}
    assert values == pytest.approx(golden, rel=1e-4), CHANGED


# measured with version 1 on 120 training, 24 validation and 96 test images of 6 x 6 pixels in three classes, with much
# noise; test_finetune.py and tests/engine/training compare each part with its definition. Where sums are rounded
# differently, one or two of 96 images may be classified differently.
SHORT: dict[str, Any] = {"epochs": 4, "warmup_epochs": 1, "batch": 16, "lrs": (1e-2, 1e-3), "weight_decays": (0.05,)}


@pytest.mark.parametrize(
    ("recipe", "right", "loss"),
    [
        (FineTune(**SHORT), 87, 1.10309),
        (LowShot(fraction=0.1, tuning=FineTune(**SHORT, layer_decays=(0.65,))), 56, 1.15459),
        (LowShot(fraction=0.01, tuning=FineTune(**{**SHORT, "epochs": 20}, **NO_MIXING)), 56, 0.73872),
        (LinearProbeLARS(epochs=4, warmup_epochs=1, batch=16, base_lr=32.0), 32, 1.13349),
    ],
    ids=["finetune", "low-shot-10pct", "low-shot-1pct", "linear-probe-lars"],
)
def test_what_is_trained_gives_the_golden_value(recipe: Any, right: int, loss: float, tmp_path: Path) -> None:
    """Right images of 96 and the last training loss, which depends on every step, are the stored ones."""
    splits = {"train": tiny.split(120, noise=90), "val": tiny.split(24, "val", noise=90)}
    dataset = Dataset("patterns", {**splits, "test": tiny.split(96, "test", noise=90)}, classes=("a", "b", "c"))
    measured = {m.metric: m for m in recipe.evaluate(tiny.backbone(), dataset, context_in(tmp_path))}["top1"]
    assert measured.value == pytest.approx(100 * right / 96, abs=2.09), CHANGED
    assert measured.details["curve"]["loss"][-1] == pytest.approx(loss, rel=2e-3), CHANGED
