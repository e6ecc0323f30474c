"""Calibration of a head, end to end on the synthetic backbone."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.forwards import count_forwards
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.errors import MissingError
from bob_gauntlet.metrics.calibration import cross_entropies, fit_temperature, log_softmax
from bob_gauntlet.protocols.calibration import Calibration
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.recipe import Measured
from tests.helpers.contexts import context_in
from tests.helpers.synthetic_splits import Pixels, classification, features_of, pixels
from tests.protocols.test_evaluate import fitted, multi_label

STRENGTH = 0.01


def measure(dataset: Dataset, folder: Path, **options: object) -> dict[str, Measured]:
    """Metric -> what was measured of a probe of one strength."""
    recipe = Calibration(head=LinearProbe(strengths=(STRENGTH,)))
    return {m.metric: m for m in recipe.evaluate(pixels(), dataset, context_in(folder, **options))}  # type: ignore[arg-type]


def theirs(made: Pixels, roles: tuple[str, ...], tested_role: str) -> np.ndarray:
    """Logits of scikit-learn's head at the same strength, fitted on `roles`, on the images of a role."""
    x = np.concatenate([features_of(made[role][0]) for role in roles])
    y = np.concatenate([made[role][1] for role in roles])
    scaler = StandardScaler().fit(x)
    head = LogisticRegression(C=1 / (STRENGTH * len(x)), tol=1e-10, max_iter=10_000).fit(scaler.transform(x), y)
    return np.asarray(head.decision_function(scaler.transform(features_of(made[tested_role][0]))))


def test_it_is_scikit_learns_head_judged(tmp_path: Path) -> None:
    """Cross-entropy and accuracy of the test images by LogisticRegression on train + validation."""
    dataset, made = classification()
    found = measure(dataset, tmp_path)
    logits, targets = theirs(made, ("train", "val"), "test"), made["test"][1]
    assert found["ce"].value == pytest.approx(cross_entropies(logits, targets).mean(), rel=1e-3)
    assert found["top1"].value == pytest.approx(100 * (logits.argmax(axis=1) == targets).mean())
    assert found["ce"].values is not None
    np.testing.assert_allclose(found["ce"].values, cross_entropies(logits, targets), rtol=0.02, atol=0.01)
    confidence = np.exp(log_softmax(logits)).max(axis=1).mean()
    # the error of all bins is at least the gap of all examples, and no more than 1
    assert abs(confidence - found["top1"].value / 100) - 1e-3 <= found["ece"].value < 1
    assert set(found) == {"top1", "ce", "ece", "ece_adaptive", "ce_scaled", "ece_scaled"}


def test_the_temperature_comes_from_images_that_the_head_has_not_seen(tmp_path: Path) -> None:
    """Fitted on the validation logits of a head of train alone, and applied to the test logits of the other numbers."""
    dataset, made = classification()
    found = measure(dataset, tmp_path)
    [warmth] = found["ce_scaled"].details["temperature"]
    assert warmth == pytest.approx(fit_temperature(theirs(made, ("train",), "val"), made["val"][1]), rel=1e-2)
    seen = fit_temperature(theirs(made, ("train", "val"), "val"), made["val"][1])
    assert abs(warmth - seen) > 0.02, "the two have to differ for this test to tell"
    logits = theirs(made, ("train", "val"), "test") / warmth
    assert found["ce_scaled"].value == pytest.approx(cross_entropies(logits, made["test"][1]).mean(), rel=2e-3)


def test_the_head_is_the_probes_and_nothing_is_extracted_twice(tmp_path: Path) -> None:
    """After a linear probe of the same recipe, calibration makes no forward pass."""
    dataset, _ = classification()
    backbone, run = pixels(), context_in(tmp_path)
    list(LinearProbe().evaluate(backbone, dataset, run))
    with count_forwards() as count:
        list(Calibration().evaluate(backbone, dataset, run))
    assert count.images == 0
    heads = list((tmp_path).rglob("heads/*"))
    assert len([h for h in heads if h.is_file()]) <= 4, "one head, and one that never saw the validation images"


def test_the_curve_and_the_spread_are_kept(tmp_path: Path) -> None:
    """For the report: 15 bins whose counts are the test images; a standard error with how it was got."""
    dataset, _ = classification()
    ece = measure(dataset, tmp_path)["ece"]
    curve = ece.details["reliability"]
    assert len(curve["count"]) == 15
    assert sum(curve["count"]) == 96
    assert ece.details["stderr"] > 0
    assert "bootstrap draws of clusters" in ece.details["stderr_how"]


def test_seeds_are_averaged(tmp_path: Path) -> None:
    """Two seeds deal train and validation anew: two temperatures, one number."""
    dataset, _ = classification()
    found = measure(dataset, tmp_path, seeds=(0, 1))
    assert len(found["ce_scaled"].details["temperature"]) == 2


def test_several_labels_an_image_are_refused(tmp_path: Path) -> None:
    """Confidence of one class is what is calibrated."""
    dataset, _ = multi_label()
    with pytest.raises(MissingError, match="has several labels per image"):
        measure(dataset, tmp_path)


def test_fitted_is_what_the_head_sees() -> None:
    """The two tests above fit on what the recipe fits on."""
    dataset, made = classification()
    assert len(fitted(made)[0]) == len(dataset["train"]) + len(dataset["val"])
