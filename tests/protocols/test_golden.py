"""Golden canonical forms and values of every recipe: stored scores are compared by them.

Where a test here goes red, the recipe computes something else than what is stored under its version.
"""

from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.protocols.adversarial import Adversarial
from bob_gauntlet.protocols.calibration import Calibration
from bob_gauntlet.protocols.efficiency import Efficiency
from bob_gauntlet.protocols.knn import KNN
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.ood import OOD
from bob_gauntlet.protocols.recipe import Measured, at_scale, canonical, protocol_hash
from bob_gauntlet.protocols.retrieval import Retrieval

from .synthetic import classification, pixels, run_in

MOVED = "the value moved: bump version"

# sha256 over the canonical JSON, first 16 digits, as of the stated version of each recipe
GOLDEN: list[tuple[Any, str, dict[str, Any], str]] = [
    (LinearProbe(), "paper", {"id": "linear-probe", "version": 1}, "f01c307fe0ebfdb7"),
    (LinearProbe(), "mini", {"id": "linear-probe", "version": 1, "input_size": 96}, "b3553b0ca1f0ae83"),
    (KNN(), "paper", {"id": "knn", "version": 1}, "d9e23e3150269a3d"),
    (KNN(), "mini", {"id": "knn", "version": 1, "input_size": 96}, "f753d42f3693ddb3"),
    (Retrieval(), "paper", {"id": "retrieval", "version": 1}, "104f00ad14d1f5e1"),
    (Retrieval(), "mini", {"id": "retrieval", "version": 1, "input_size": 96}, "178fb8a19aa20d03"),
    (
        Calibration(),
        "paper",
        {"id": "calibration-linear-probe", "version": 1, "head": {"id": "linear-probe", "version": 1}},
        "d8ec2807f87670df",
    ),
    (
        Calibration(),
        "mini",
        {
            "id": "calibration-linear-probe",
            "version": 1,
            "head": {"id": "linear-probe", "version": 1, "input_size": 96},
        },
        "bc1c9b76f9c5fbe6",
    ),
    (
        Adversarial(),
        "paper",
        {"id": "adversarial-linear-probe-eps1", "version": 1, "head": {"id": "linear-probe", "version": 1}},
        "8d40186b1604041d",
    ),
    (
        Adversarial(epsilon_255=2, success="any"),
        "mini",
        {
            "id": "adversarial-linear-probe-eps2-any",
            "version": 1,
            "head": {"id": "linear-probe", "version": 1, "input_size": 96},
            "epsilon_255": 2,
            "success": "any",
            "images": 126,
        },
        "767e2095e931cb83",
    ),
    (
        Adversarial(epsilon_255=2),
        "mini",
        {
            "id": "adversarial-linear-probe-eps2",
            "version": 1,
            "head": {"id": "linear-probe", "version": 1, "input_size": 96},
            "epsilon_255": 2,
            "images": 126,
        },
        "7b7e98e926d33c5e",
    ),
    (
        OOD(),
        "paper",
        {"id": "ood-linear-probe", "version": 1, "head": {"id": "linear-probe", "version": 1}},
        "5eb0593a6dc21a30",
    ),
    (
        OOD(),
        "mini",
        {"id": "ood-linear-probe", "version": 1, "head": {"id": "linear-probe", "version": 1, "input_size": 96}},
        "98ff589b3c140163",
    ),
    (Efficiency(), "paper", {"id": "efficiency", "version": 2}, "369e92b7e6e6c71e"),
    (
        Efficiency(),
        "mini",
        {"id": "efficiency", "version": 2, "input_size": 96, "batches": [8, 32], "repeats": 15},
        "6ebaf5304927d65a",
    ),
]

# what a field's default is, is in no hash: so it is pinned here
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
    (Efficiency(), {"input_size": None, "batches": (1, 8, 32, 128, 256), "warmup": 3, "repeats": 30}),
]  # fmt: skip


@pytest.mark.parametrize(("recipe", "scale", "form", "digest"), GOLDEN, ids=lambda value: str(value)[:24])
def test_the_canonical_form_is_the_stored_one(recipe: Any, scale: str, form: dict[str, Any], digest: str) -> None:
    """Form and hash, at both scales."""
    scaled = at_scale(recipe, scale)
    assert canonical(scaled) == form, MOVED
    assert protocol_hash(scaled) == digest, MOVED


@pytest.mark.parametrize(("recipe", "defaults"), DEFAULTS, ids=lambda value: str(value)[:12])
def test_the_defaults_are_those_of_this_version(recipe: Any, defaults: dict[str, Any]) -> None:
    """A changed default changes no hash by itself: the version has to."""
    assert vars(recipe) == defaults, MOVED


def measure(recipe: Any, dataset: Dataset, folder: Path) -> dict[str, Measured]:
    """Metric -> what was measured on the synthetic backbone."""
    return {m.metric: m for m in recipe.evaluate(pixels(), dataset, run_in(folder))}


# measured with version 1; test_evaluate.py holds each recipe equal to scikit-learn or to its definition on this data.
# One test image of 96 is 1.05 points.
def test_knn_gives_the_golden_value(tmp_path: Path) -> None:
    """Accuracies to one example."""
    found = measure(KNN(), classification()[0], tmp_path)
    assert found["top1"].value == pytest.approx(100 * 49 / 96, abs=1.05), MOVED
    assert found["top5"].value == pytest.approx(100 * 79 / 96, abs=1.05), MOVED


def test_linear_probe_gives_the_golden_value(tmp_path: Path) -> None:
    """Accuracies to one example."""
    found = measure(LinearProbe(strengths=(1.0, 0.2154, 0.04642)), classification()[0], tmp_path)
    assert found["top1"].value == pytest.approx(100 * 63 / 96, abs=1.05), MOVED
    assert found["top5"].value == pytest.approx(100 * 95 / 96, abs=1.05), MOVED


def test_retrieval_gives_the_golden_value(tmp_path: Path) -> None:
    """Test images look for training images of their class; ranks change with rounding only where images tie."""
    whole, _ = classification()
    dataset = Dataset("synthetic", {"query": whole["test"], "gallery": whole["train"]}, classes=whole.classes)
    found = {metric: m.value for metric, m in measure(Retrieval(), dataset, tmp_path).items()}
    golden = {"map": 34.2531, "mrr": 0.64457, "recall1": 0.0239583, "recall5": 0.105729, "recall10": 0.1875}
    assert found == pytest.approx(golden, rel=1e-4), MOVED
