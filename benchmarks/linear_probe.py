"""Time the linear probe and two alternatives in one run: `python benchmarks/linear_probe.py`.

10,000 x 768 features of 100 classes, and 4,000 more for testing: real features (regions of the mini photos, extracted
with EfficientNet-Lite0), and Gaussian classes.

- ours: the whole path of 21 L2 strengths; the best is chosen on a fifth of the training rows, then refitted;
- one fit of scikit-learn's LogisticRegression (lbfgs) with its default C=1, on the same rows;
- 20 trainings of 10 epochs, one for each weight decay, in batches of 64 from a DataLoader, AdamW at 0.1 with cosine
  decay: what the linear probes of CLIP's evaluation tools run.

Then `photos` and `digits` at mini scale, features of EfficientNet-Lite0: the seconds of the path, and how far its
objectives are from the better one of two of scikit-learn's solvers (lbfgs and newton-cg, at a gradient of 1e-10).

Targets: ours takes at most 3 times as long as the one fit, is at least 4 times faster than the trainings and as
accurate, and its objective exceeds no other solver's by more than 1e-6 of it.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import describe_load, format_spread, time_call
from bob_gauntlet.backbones.loading import load as load_backbone
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import UserConfig
from bob_gauntlet.datasets.loading import load as load_dataset
from bob_gauntlet.datasets.mini.build import generator, random_crop, render
from bob_gauntlet.datasets.mini.sources import read_photos
from bob_gauntlet.engine.frozen.labelled_features import load_labelled_features
from bob_gauntlet.engine.frozen.logistic import Head, regularisation_path, standardisation
from bob_gauntlet.engine.transforms import normalise, preprocess
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.schema import Array, Schema

TRAIN, TEST, WIDTH, CLASSES, EPOCHS, BATCH = 10_000, 4_000, 768, 100, 10, 64
SCIKIT_STRENGTH = 1 / TRAIN
"""Our L2 strength that equals scikit-learn's default C=1."""
SCHEMA = Schema({"features": Array("float32", (TRAIN + TEST, WIDTH)), "targets": Array("int64", (TRAIN + TEST,))})
"""The stored features and classes."""


def main() -> None:
    """Measure and print on real features and on Gaussian classes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(os.cpu_count() or 1)
    print(f"{TRAIN:,} x {WIDTH}, {CLASSES} classes, {torch.get_num_threads()} threads, {describe_load()}")
    for name, (features, targets) in (("real features", load_real_data()), ("Gaussian classes", make_gaussian_data())):
        print(f"\n{name}")
        compare((features[:TRAIN], targets[:TRAIN]), (features[TRAIN:], targets[TRAIN:]), repeats)
    for name in ("photos", "digits"):
        print(f"\n{name}, mini scale")
        compare_objectives(*load_mini_features(name))


def compare(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], repeats: int) -> None:
    """Time the three methods on one set of features and print the results."""
    mean, scale = train[0].mean(axis=0), train[0].std(axis=0)
    scaled = [((x - mean) / scale, y) for x, y in (train, test)]
    our_seconds, fit_seconds, ratios = [], [], []
    for _ in range(repeats):
        seconds, (head, passes) = time_call(partial(fit_ours, *train))
        one_fit, model = time_call(partial(fit_scikit_learn, *scaled[0], SCIKIT_STRENGTH))
        our_seconds.append(seconds)
        fit_seconds.append(one_fit)
        ratios.append(seconds / one_fit)
    twenty, accuracies = time_call(lambda: [train_by_epochs(*scaled[0], *scaled[1], i) for i in range(20)])
    scikit_objective = objective(*scaled[0], model.coef_.T, model.intercept_, SCIKIT_STRENGTH)
    [our_fit] = regularisation_path(*train, CLASSES, [SCIKIT_STRENGTH])
    strengths = len(LinearProbe().strengths)
    print(f"ours, {strengths} strengths and a refit  {format_spread(our_seconds)} s, {passes} passes over the features")
    print(f"scikit-learn, one fit, C=1           {format_spread(fit_seconds)} s, {int(model.n_iter_[0])} iterations")
    print(f"20 trainings of {EPOCHS} epochs            {twenty:.1f} s")
    print(f"ours / one fit       {format_spread(ratios)}   (target: at most 3)")
    print(f"20 trainings / ours  {twenty / np.median(our_seconds):.1f}   (target: at least 4)")
    print(f"test accuracy: ours {accuracy(head, *test):.2%} at strength {head.strength}, scikit-learn "
          f"{model.score(*scaled[1]):.2%}, best of the 20 {max(accuracies):.2%}")  # fmt: skip
    difference = our_fit.objective - scikit_objective
    print(f"objective at strength {SCIKIT_STRENGTH}: ours {our_fit.objective:.7f}, "
          f"scikit-learn {scikit_objective:.7f}, ours - scikit-learn = {difference:+.1e}")  # fmt: skip


def fit_ours(features: np.ndarray, targets: np.ndarray) -> tuple[Head, int]:
    """Fit the path, choose a strength and refit, as the protocol does; return the head and the number of passes."""
    fit, choose = slice(0, TRAIN * 4 // 5), slice(TRAIN * 4 // 5, None)
    heads = list(regularisation_path(features[fit], targets[fit], CLASSES, LinearProbe().strengths))
    best = max(heads, key=lambda head: accuracy(head, features[choose], targets[choose]))
    final = next(regularisation_path(features, targets, CLASSES, [best.strength], tolerance=1e-12, start=best))
    return final, sum(head.evaluations + head.products for head in [*heads, final])


def compare_objectives(features: np.ndarray, targets: np.ndarray, classes: int) -> None:
    """Time the path and print how far three of its objectives are from those of two other solvers."""
    path = LinearProbe().strengths
    seconds, heads = time_call(lambda: list(regularisation_path(features, targets, classes, path)))
    passes = sum(head.evaluations + head.products for head in heads)
    unsolved = sum(not head.converged for head in heads)
    print(f"{features.shape[0]:,} x {features.shape[1]}, {len(path)} strengths: {seconds:.2f} s, {passes} passes, "
          f"{unsolved} not converged")  # fmt: skip
    mean, scale = standardisation(features)
    x = (features - mean) / scale
    for head in heads[6::7]:
        scikit_objectives = []
        for solver in ("lbfgs", "newton-cg"):
            model = fit_scikit_learn(x, targets, head.strength, solver=solver, tol=1e-10, max_iter=50_000)
            scikit_objectives.append(objective(x, targets, model.coef_.T, model.intercept_, head.strength))
        excess = head.objective / min(scikit_objectives) - 1
        print(f"strength {head.strength}: objective {head.objective:.7e}, {excess:+.1e} relative to scikit-learn's")


def fit_scikit_learn(features: np.ndarray, targets: np.ndarray, strength: float, **options: Any) -> Any:
    """Fit once, with enough iterations to reach the tolerance of `options`, by default 1e-4."""
    from sklearn.linear_model import LogisticRegression

    given = {"C": 1 / (len(features) * strength), "max_iter": 5000, **options}
    return LogisticRegression(**given).fit(features, targets)


def train_by_epochs(
    features: np.ndarray, targets: np.ndarray, test_features: np.ndarray, test_targets: np.ndarray, index: int
) -> float:
    """Train with the index-th of 20 weight decays and return the test accuracy."""
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.from_numpy(features), torch.from_numpy(targets))
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True)
    layer = torch.nn.Linear(WIDTH, CLASSES)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=10 ** (-6 + 8 * index / 19))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS * len(loader))
    for _ in range(EPOCHS):
        for inputs, labels in loader:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(layer(inputs), labels).backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        predicted = layer(torch.from_numpy(test_features)).argmax(dim=1).numpy()
    return float((predicted == test_targets).mean())


def objective(x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray, strength: float) -> float:
    """Compute the mean loss with L2 regularisation in float64."""
    logits = x.astype(np.float64) @ weight + bias
    logits -= logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]
    return float(loss.mean() + strength / 2 * (weight**2).sum())


def accuracy(head: Head, features: np.ndarray, targets: np.ndarray) -> float:
    """Compute the share of correct predictions."""
    return float((head.logits(features).argmax(axis=1) == targets).mean())


def load_real_data() -> tuple[np.ndarray, np.ndarray]:
    """Load shuffled features and classes; they are extracted once and stored in .bob/artifacts."""
    key = {"benchmark": "linear-probe", "version": 1}
    arrays = Artifacts(Path(".bob/artifacts")).get("benchmarks", key, extract, SCHEMA)
    return arrays["features"], arrays["targets"]


def load_mini_features(name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the features, targets and number of classes that the linear probe of a mini dataset is fitted on."""
    backbone = load_backbone(resolve("efficientnet_lite0", UserConfig(Path())), "cpu")
    data = load_labelled_features(backbone, load_dataset(name), 96, RunContext(Artifacts(Path(".bob/artifacts"))))
    return data.features, data.targets, data.classes


def make_gaussian_data() -> tuple[np.ndarray, np.ndarray]:
    """Make Gaussian classes with features of equal scale: the easy case that is often timed."""
    rng = np.random.default_rng(0)
    targets = rng.permutation(np.arange(TRAIN + TEST) % CLASSES)
    centres = rng.normal(size=(CLASSES, WIDTH))
    return (0.15 * centres[targets] + rng.normal(size=(len(targets), WIDTH))).astype(np.float32), targets


def extract() -> dict[str, np.ndarray]:
    """Extract features of 140 crops from each of five strips of twenty photos."""
    backbone = load_backbone(resolve("efficientnet_lite0", UserConfig(Path())), "cpu")
    transform = backbone.identity.input_transform(96)
    images, targets = [], []
    for photo in list(read_photos().items())[: CLASSES // 5]:
        for strip in range(5):
            for crop in strip_crops(*photo, strip):
                images.append(preprocess(crop, transform))
                targets.append(len(targets) // ((TRAIN + TEST) // CLASSES))
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), 32):
            parts.append(backbone.embed(normalise(torch.stack(images[start : start + 32]), transform)).numpy())
    order = np.random.default_rng(0).permutation(len(images))
    return {"features": np.concatenate(parts)[order, :WIDTH].copy(), "targets": np.array(targets)[order]}


def strip_crops(name: str, photo: object, strip: int) -> list[object]:
    """Return the crops of one of five strips of a photo, which divide its longer side."""
    width, height = photo.size  # type: ignore[attr-defined]
    vertical_strip = (width * strip // 5, 0, width * (strip + 1) // 5, height)
    horizontal_strip = (0, height * strip // 5, width, height * (strip + 1) // 5)
    rng = generator("benchmark", name, strip)
    region = vertical_strip if width >= height else horizontal_strip
    return [render(photo, random_crop(rng, region, 0.3, 0.9)) for _ in range((TRAIN + TEST) // CLASSES)]  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
