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
from tests.helpers.synthetic_splits import (
    ExamplesByRole,
    classification_dataset,
    multi_label_dataset,
    pixel_backbone,
    pixel_features,
    train_and_validation_examples,
)

STRENGTH = 0.01


def measure(dataset: Dataset, folder: Path, **options: object) -> dict[str, Measured]:
    """Return metric -> what was measured of a probe of one strength."""
    recipe = Calibration(head=LinearProbe(strengths=(STRENGTH,)))
    return {m.metric: m for m in recipe.evaluate(pixel_backbone(), dataset, context_in(folder, **options))}  # type: ignore[arg-type]


def reference_logits(examples: ExamplesByRole, roles: tuple[str, ...], tested_role: str) -> np.ndarray:
    """Return scikit-learn's logits for the images of a role, at the same strength, fitted on `roles`."""
    x = np.concatenate([pixel_features(examples[role][0]) for role in roles])
    y = np.concatenate([examples[role][1] for role in roles])
    scaler = StandardScaler().fit(x)
    head = LogisticRegression(C=1 / (STRENGTH * len(x)), tol=1e-10, max_iter=10_000).fit(scaler.transform(x), y)
    return np.asarray(head.decision_function(scaler.transform(pixel_features(examples[tested_role][0]))))


def test_it_is_scikit_learns_head_judged(tmp_path: Path) -> None:
    """Cross-entropy and accuracy are those of a LogisticRegression that is fitted on train + validation."""
    dataset, examples = classification_dataset()
    measured = measure(dataset, tmp_path)
    logits, targets = reference_logits(examples, ("train", "val"), "test"), examples["test"][1]
    assert measured["ce"].value == pytest.approx(cross_entropies(logits, targets).mean(), rel=1e-3)
    assert measured["top1"].value == pytest.approx(100 * (logits.argmax(axis=1) == targets).mean())
    assert measured["ce"].values is not None
    np.testing.assert_allclose(measured["ce"].values, cross_entropies(logits, targets), rtol=0.02, atol=0.01)
    confidence = np.exp(log_softmax(logits)).max(axis=1).mean()
    # the error over bins is at least the gap over all examples, and less than 1
    assert abs(confidence - measured["top1"].value / 100) - 1e-3 <= measured["ece"].value < 1
    assert set(measured) == {"top1", "ce", "ece", "ece_adaptive", "ce_scaled", "ece_scaled"}


def test_the_temperature_comes_from_images_that_the_head_has_not_seen(tmp_path: Path) -> None:
    """The temperature is fitted on validation logits of a head of train alone, and applied to the usual test logits."""
    dataset, examples = classification_dataset()
    measured = measure(dataset, tmp_path)
    [temperature] = measured["ce_scaled"].details["temperature"]
    assert temperature == pytest.approx(
        fit_temperature(reference_logits(examples, ("train",), "val"), examples["val"][1]), rel=1e-2
    )
    of_trained_images = fit_temperature(reference_logits(examples, ("train", "val"), "val"), examples["val"][1])
    assert abs(temperature - of_trained_images) > 0.02, (
        "the two temperatures have to differ, else this test shows nothing"
    )
    logits = reference_logits(examples, ("train", "val"), "test") / temperature
    assert measured["ce_scaled"].value == pytest.approx(cross_entropies(logits, examples["test"][1]).mean(), rel=2e-3)


def test_the_head_is_the_probes_and_nothing_is_extracted_twice(tmp_path: Path) -> None:
    """After a linear probe of the same recipe, calibration makes no forward pass."""
    dataset, _ = classification_dataset()
    backbone, context = pixel_backbone(), context_in(tmp_path)
    list(LinearProbe().evaluate(backbone, dataset, context))
    with count_forwards() as count:
        list(Calibration().evaluate(backbone, dataset, context))
    assert count.images == 0
    head_files = [path for path in tmp_path.rglob("heads/*") if path.is_file()]
    assert len(head_files) <= 4, "one head, and one that was not trained on validation images"


def test_the_curve_and_the_spread_are_kept(tmp_path: Path) -> None:
    """The details hold 15 bins that count all test images, and a standard error with its method."""
    dataset, _ = classification_dataset()
    ece = measure(dataset, tmp_path)["ece"]
    curve = ece.details["reliability"]
    assert len(curve["count"]) == 15
    assert sum(curve["count"]) == 96
    assert ece.details["stderr"] > 0
    assert "bootstrap draws of clusters" in ece.details["stderr_how"]


def test_seeds_are_averaged(tmp_path: Path) -> None:
    """Two seeds divide train and validation differently, so there are two temperatures and one value."""
    dataset, _ = classification_dataset()
    measured = measure(dataset, tmp_path, seeds=(0, 1))
    assert len(measured["ce_scaled"].details["temperature"]) == 2


def test_several_labels_an_image_are_refused(tmp_path: Path) -> None:
    """A dataset with several labels per image is refused, since calibration is about one label."""
    dataset, _ = multi_label_dataset()
    with pytest.raises(MissingError, match="has several labels per image"):
        measure(dataset, tmp_path)


def test_the_reference_is_fitted_on_train_and_validation() -> None:
    """The reference in the tests above is fitted on as many images as the recipe fits on."""
    dataset, examples = classification_dataset()
    assert len(train_and_validation_examples(examples)[0]) == len(dataset["train"]) + len(dataset["val"])
