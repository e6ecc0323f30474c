"""Out-of-distribution classification end to end: scores, lost points, and that nothing is trained twice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.forwards import count_forwards
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.errors import MissingError
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.ood import OOD
from bob_gauntlet.protocols.recipe import Measured
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext
from tests.helpers.contexts import context_in
from tests.helpers.synthetic_splits import ExamplesByRole, classification_dataset, pixel_backbone, split

HEAD = LinearProbe(strengths=(1.0, 0.2154, 0.04642))


def shifted(change: Any) -> tuple[Dataset, ExamplesByRole]:
    """Return the synthetic dataset with its test images as `source`, and changed by `change` as `test`."""
    dataset, examples = classification_dataset()
    images, targets = examples["test"]
    source = replace(dataset["test"], role="source")
    test = split("shifted", change(images), targets, [f"photo-{i % 12}" for i in range(len(images))])
    return replace(dataset, splits={**dataset.splits, "source": source, "test": test}), examples


def darker(images: np.ndarray) -> np.ndarray:
    """Return images whose levels are a tenth lower."""
    return (images // 10 * 9).astype(np.uint8)


def measure(recipe: Any, dataset: Dataset, folder: Path, **options: Any) -> dict[str, Measured]:
    """Return metric -> what was measured on the synthetic backbone."""
    return {m.metric: m for m in recipe.evaluate(pixel_backbone(), dataset, context_in(folder, **options))}


def test_the_shifted_images_have_the_score_and_the_drop_is_against_the_source(tmp_path: Path) -> None:
    """Both accuracies are those of the linear probe with the one or the other split as its test split."""
    dataset, _ = shifted(darker)
    measured = measure(OOD(head=HEAD), dataset, tmp_path)
    before = replace(dataset, splits={**dataset.splits, "test": dataset["source"]})
    source = measure(HEAD, before, tmp_path)["top1"]
    probed = measure(HEAD, dataset, tmp_path)["top1"]
    assert list(measured) == ["top1", "top1_drop"]
    assert measured["top1"].value == pytest.approx(probed.value)
    assert measured["top1_drop"].value == pytest.approx(source.value - probed.value)
    assert source.value > probed.value + 3  # the shift costs something, so that a swapped sign or split is noticed
    assert measured["top1"].details["source_top1"] == pytest.approx(source.value)
    assert measured["top1"].details["source_n"] == 96


def test_known_values(tmp_path: Path) -> None:
    """Source images of clean patterns are all right; every third shifted image shows another class's pattern.

    6 classes of 16 images: 100% at the source, 2 / 3 right under the shift, 100 / 3 points lost.
    """
    dataset, examples = classification_dataset(noise=1.0)
    images, targets = examples["test"]
    swapped = images.copy()
    swapped[::3] = images[np.arange(0, 96, 3) - 1]
    source = replace(dataset["test"], role="source")
    splits = {**dataset.splits, "source": source, "test": split("shifted", swapped, targets)}
    measured = measure(OOD(head=HEAD), replace(dataset, splits=splits), tmp_path)
    assert measured["top1"].value == pytest.approx(200 / 3)
    assert measured["top1_drop"].value == pytest.approx(100 / 3)
    assert measured["top1"].details["source_top1"] == 100
    assert measured["top1"].values is not None
    np.testing.assert_array_equal(measured["top1"].values, np.where(np.arange(96) % 3 == 0, 0.0, 100.0))


def test_what_comes_with_the_scores(tmp_path: Path) -> None:
    """Top-1 has values of the shifted images, the drop has none, and both state how the head was chosen."""
    dataset, _ = shifted(darker)
    measured = measure(OOD(head=HEAD), dataset, tmp_path)
    top1, drop = measured["top1"], measured["top1_drop"]
    assert top1.values is not None
    assert top1.values.mean() == pytest.approx(top1.value)
    assert (top1.examples, top1.clusters) == (dataset["test"].ids, dataset["test"].clusters)
    assert (drop.values, drop.examples, drop.clusters) == (None, None, None)
    assert top1.details["chance"] == pytest.approx(100 / 6)
    # by the chance of top-1 the report flags a score as noise
    assert {"chance", "stderr"}.isdisjoint(drop.details)
    for details in (top1.details, drop.details):
        assert details["strength"] == measure(HEAD, dataset, tmp_path)["top1"].details["strength"]
        assert details["seeds"] == [0]


def test_restricted_classes_are_sought_among_themselves(tmp_path: Path) -> None:
    """ImageNet-A and -R: logits are cut to the classes before the largest is taken, at the source too."""
    dataset, examples = shifted(darker)
    kept = (1, 2, 5)
    targets = examples["test"][1]
    test = dataset["test"].take(np.flatnonzero(np.isin(targets, kept)), "of three classes")
    dataset = replace(dataset, splits={**dataset.splits, "test": test}, restricted_classes=kept)
    measured = measure(OOD(head=HEAD), dataset, tmp_path)
    [head] = HEAD.classifiers(pixel_backbone(), dataset, context_in(tmp_path))

    def by_hand(split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Return which images count, and which of these are classified rightly."""
        logits = head.scores(split, context_in(tmp_path))
        is_kept = np.isin(split.targets, kept)
        chosen = np.array([kept[int(np.argmax(row[list(kept)]))] for row in logits[is_kept]])
        return is_kept, chosen == split.targets[is_kept]

    shown, right = by_hand(test)
    source, right_before = by_hand(dataset["source"])
    assert (shown.sum(), source.sum()) == (48, 48)
    top1 = measured["top1"]
    assert top1.values is not None
    assert top1.values.tolist() == (100.0 * right).tolist()
    assert (top1.examples, top1.clusters) == (test.ids, test.clusters)
    assert top1.details["source_top1"] == pytest.approx(100 * right_before.mean())
    assert top1.details["source_n"] == 48
    assert measured["top1_drop"].value == pytest.approx(100 * right_before.mean() - 100 * right.mean())
    assert (top1.details["classes"], top1.details["chance"]) == (3, pytest.approx(100 / 3))
    # among all six classes fewer are right
    free = measure(OOD(head=HEAD), replace(dataset, restricted_classes=None), tmp_path)["top1"]
    assert free.value < top1.value
    assert "classes" not in free.details


def test_images_of_other_classes_are_left_out(tmp_path: Path) -> None:
    """Images of other classes are left out, with their ids and clusters."""
    dataset, examples = shifted(darker)
    measured = measure(OOD(head=HEAD), replace(dataset, restricted_classes=(0, 3)), tmp_path)["top1"]
    kept_indices = np.flatnonzero(np.isin(examples["test"][1], (0, 3)))
    assert measured.examples == tuple(dataset["test"].ids[i] for i in kept_indices)
    assert measured.clusters == tuple(dataset["test"].clusters[i] for i in kept_indices)


def test_an_unshifted_test_split_loses_nothing(tmp_path: Path) -> None:
    """With the same images as source and test, the drop is 0."""
    dataset, _ = shifted(lambda images: images)
    measured = measure(OOD(head=HEAD), dataset, tmp_path)
    assert measured["top1_drop"].value == 0
    assert measured["top1"].value == measured["top1"].details["source_top1"] < 100


def test_every_seed_has_its_head_and_its_drop(tmp_path: Path) -> None:
    """Values are means over the seeds of what each seed alone gives."""
    dataset, _ = shifted(darker)
    recipe = OOD(head=LinearProbe())
    both = measure(recipe, dataset, tmp_path, seeds=(0, 1, 2))
    alone = [measure(recipe, dataset, tmp_path, seeds=(seed,)) for seed in (0, 1, 2)]
    for metric in ("top1", "top1_drop"):
        values = [each[metric].value for each in alone]
        assert both[metric].details["by_seed"] == pytest.approx(values)
        assert both[metric].value == pytest.approx(np.mean(values))
        assert both[metric].details["seed_std"] == pytest.approx(np.std(values, ddof=1))
    drops = both["top1_drop"].details["by_seed"]
    assert len(set(drops)) > 1  # else all seeds had one head, and this test would show little
    assert drops != both["top1"].details["by_seed"]
    assert "chance" not in both["top1_drop"].details


class CountingArtifacts(Artifacts):
    """Artefacts that record the kind of each one that had to be computed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.missed: list[str] = []

    def get(self, kind: str, key: Any, compute: Any, schema: Any) -> Any:
        """Return an artefact, and record its kind if it has to be computed."""

        def record_and_compute() -> Any:
            self.missed.append(kind)
            return compute()

        return super().get(kind, key, record_and_compute, schema)


def test_after_the_linear_probe_only_the_shifted_images_are_new(tmp_path: Path) -> None:
    """No head is fitted again, and only the shifted images go through the network."""
    dataset, _ = shifted(darker)
    plain, _ = classification_dataset()
    backbone, context = pixel_backbone(), RunContext(CountingArtifacts(tmp_path))
    with count_forwards() as count:
        list(HEAD.evaluate(backbone, plain, context))
        assert context.artifacts.missed == ["features"] * 2 + ["heads", "features"]
        assert count.since_last() == 120 + 36 + 96
        list(OOD(head=HEAD).evaluate(backbone, dataset, context))
        assert context.artifacts.missed[4:] == ["features"]
        assert count.since_last() == 96


def test_the_photos_shifts_share_what_photos_made(tmp_path: Path) -> None:
    """Cut to 42 images per role, photos needs 42 + 42 + 42 forward passes, then the sketches need 42, and no fit."""
    from bob_gauntlet.datasets.loading import limit_dataset, load

    photos, sketch = (limit_dataset(small(load(name)), 42) for name in ("photos", "photos-sketch"))
    backbone, context = pixel_backbone(), RunContext(CountingArtifacts(tmp_path))
    with count_forwards() as count:
        list(HEAD.evaluate(backbone, photos, context))
        known = len(context.artifacts.missed)
        assert count.since_last() == sum(len(photos[role]) for role in ("train", "val", "test"))
        list(OOD(head=HEAD).evaluate(backbone, sketch, context))
        assert count.since_last() == len(sketch["test"])
        assert context.artifacts.missed[known:] == ["features"]


def small(dataset: Dataset) -> Dataset:
    """Return the dataset with images of 2 x 2 pixels, as the synthetic backbone takes them; fingerprints stay."""

    def shrink(whole: Split) -> Split:
        return replace(whole, image=lambda i: whole.image(i).resize((2, 2)))

    return replace(dataset, splits={role: shrink(whole) for role, whole in dataset.splits.items()})


def test_another_head_setting_is_another_head(tmp_path: Path) -> None:
    """Other strengths share the features but not the fit."""
    dataset, _ = shifted(darker)
    backbone, context = pixel_backbone(), RunContext(CountingArtifacts(tmp_path))
    list(HEAD.evaluate(backbone, dataset, context))
    del context.artifacts.missed[:]
    list(OOD(head=LinearProbe(strengths=(1.0, 0.5))).evaluate(backbone, dataset, context))
    assert sorted(context.artifacts.missed) == ["features", "heads"]


def test_id_and_size_are_the_heads() -> None:
    """Id and input size come from the head's recipe."""
    assert OOD().id == "ood-linear-probe"
    assert (OOD().input_size, OOD(head=LinearProbe(input_size=96)).input_size) == (None, 96)


def test_several_labels_an_image_are_refused(tmp_path: Path) -> None:
    """A dataset with several labels per image is refused before anything is computed."""
    dataset, _ = shifted(darker)
    backbone = pixel_backbone()
    with count_forwards() as count, pytest.raises(MissingError, match="synthetic has several labels per image"):
        list(OOD(head=HEAD).evaluate(backbone, replace(dataset, multi_label=True), context_in(tmp_path)))
    assert count.images == 0
