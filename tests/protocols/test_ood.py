"""Out of distribution end to end: the score of the shifted images, the points that are lost, nothing trained twice."""

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
from tests.helpers.synthetic_splits import Pixels, classification, pixels, split

HEAD = LinearProbe(strengths=(1.0, 0.2154, 0.04642))


def shifted(change: Any) -> tuple[Dataset, Pixels]:
    """The synthetic dataset; its test images become `source`, and, with `change` done to their pixels, `test`."""
    dataset, made = classification()
    images, targets = made["test"]
    source = replace(dataset["test"], role="source")
    test = split("shifted", change(images), targets, [f"photo-{i % 12}" for i in range(len(images))])
    return replace(dataset, splits={**dataset.splits, "source": source, "test": test}), made


def darker(images: np.ndarray) -> np.ndarray:
    """Every level a tenth lower."""
    return (images // 10 * 9).astype(np.uint8)


def measure(recipe: Any, dataset: Dataset, folder: Path, **options: Any) -> dict[str, Measured]:
    """Metric -> what was measured on the synthetic backbone."""
    return {m.metric: m for m in recipe.evaluate(pixels(), dataset, context_in(folder, **options))}


def test_the_shifted_images_have_the_score_and_the_drop_is_against_the_source(tmp_path: Path) -> None:
    """Each as the linear probe itself gives it where its test split is the one or the other."""
    dataset, _ = shifted(darker)
    found = measure(OOD(head=HEAD), dataset, tmp_path)
    before = replace(dataset, splits={**dataset.splits, "test": dataset["source"]})
    source = measure(HEAD, before, tmp_path)["top1"]
    probed = measure(HEAD, dataset, tmp_path)["top1"]
    assert list(found) == ["top1", "top1_drop"]
    assert found["top1"].value == pytest.approx(probed.value)
    assert found["top1_drop"].value == pytest.approx(source.value - probed.value)
    assert source.value > probed.value + 3  # the shift costs something, so that a swapped sign or split shows
    assert found["top1"].details["source_top1"] == pytest.approx(source.value)
    assert found["top1"].details["source_n"] == 96


def test_known_values(tmp_path: Path) -> None:
    """Source images of clean patterns are all right; of the shifted ones, every third shows another class's pattern.

    6 classes of 16: 100% at the source, 2 / 3 right under the shift, 100 / 3 points lost.
    """
    dataset, made = classification(noise=1.0)
    images, targets = made["test"]
    swapped = images.copy()
    swapped[::3] = images[np.arange(0, 96, 3) - 1]
    source = replace(dataset["test"], role="source")
    splits = {**dataset.splits, "source": source, "test": split("shifted", swapped, targets)}
    found = measure(OOD(head=HEAD), replace(dataset, splits=splits), tmp_path)
    assert found["top1"].value == pytest.approx(200 / 3)
    assert found["top1_drop"].value == pytest.approx(100 / 3)
    assert found["top1"].details["source_top1"] == 100
    assert found["top1"].values is not None
    np.testing.assert_array_equal(found["top1"].values, np.where(np.arange(96) % 3 == 0, 0.0, 100.0))


def test_what_comes_with_the_scores(tmp_path: Path) -> None:
    """Values, ids and clusters of the shifted images, how the head was chosen; a drop has no value of an example."""
    dataset, _ = shifted(darker)
    found = measure(OOD(head=HEAD), dataset, tmp_path)
    top1, drop = found["top1"], found["top1_drop"]
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
    dataset, made = shifted(darker)
    kept = (1, 2, 5)
    targets = made["test"][1]
    test = dataset["test"].take(np.flatnonzero(np.isin(targets, kept)), "of three classes")
    dataset = replace(dataset, splits={**dataset.splits, "test": test}, restricted_classes=kept)
    found = measure(OOD(head=HEAD), dataset, tmp_path)
    [head] = HEAD.classifiers(pixels(), dataset, context_in(tmp_path))

    def by_hand(split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Which images count, and which of these are right."""
        logits = head.scores(split, context_in(tmp_path))
        own = np.isin(split.targets, kept)
        chosen = np.array([kept[int(np.argmax(row[list(kept)]))] for row in logits[own]])
        return own, chosen == split.targets[own]

    shown, right = by_hand(test)
    source, right_before = by_hand(dataset["source"])
    assert (shown.sum(), source.sum()) == (48, 48)
    top1 = found["top1"]
    assert top1.values is not None
    assert top1.values.tolist() == (100.0 * right).tolist()
    assert (top1.examples, top1.clusters) == (test.ids, test.clusters)
    assert top1.details["source_top1"] == pytest.approx(100 * right_before.mean())
    assert top1.details["source_n"] == 48
    assert found["top1_drop"].value == pytest.approx(100 * right_before.mean() - 100 * right.mean())
    assert (top1.details["classes"], top1.details["chance"]) == (3, pytest.approx(100 / 3))
    # among all six classes fewer are right
    free = measure(OOD(head=HEAD), replace(dataset, restricted_classes=None), tmp_path)["top1"]
    assert free.value < top1.value
    assert "classes" not in free.details


def test_images_of_other_classes_are_left_out(tmp_path: Path) -> None:
    """Of both splits, with their ids and clusters."""
    dataset, made = shifted(darker)
    found = measure(OOD(head=HEAD), replace(dataset, restricted_classes=(0, 3)), tmp_path)["top1"]
    own = np.flatnonzero(np.isin(made["test"][1], (0, 3)))
    assert found.examples == tuple(dataset["test"].ids[i] for i in own)
    assert found.clusters == tuple(dataset["test"].clusters[i] for i in own)


def test_an_unshifted_test_split_loses_nothing(tmp_path: Path) -> None:
    """The same images twice."""
    dataset, _ = shifted(lambda images: images)
    found = measure(OOD(head=HEAD), dataset, tmp_path)
    assert found["top1_drop"].value == 0
    assert found["top1"].value == found["top1"].details["source_top1"] < 100


def test_every_seed_has_its_head_and_its_drop(tmp_path: Path) -> None:
    """Means over the seeds of what each seed alone gives."""
    dataset, _ = shifted(darker)
    recipe = OOD(head=LinearProbe())
    both = measure(recipe, dataset, tmp_path, seeds=(0, 1, 2))
    alone = [measure(recipe, dataset, tmp_path, seeds=(seed,)) for seed in (0, 1, 2)]
    for metric in ("top1", "top1_drop"):
        values = [found[metric].value for found in alone]
        assert both[metric].details["by_seed"] == pytest.approx(values)
        assert both[metric].value == pytest.approx(np.mean(values))
        assert both[metric].details["seed_std"] == pytest.approx(np.std(values, ddof=1))
    drops = both["top1_drop"].details["by_seed"]
    assert len(set(drops)) > 1  # else the seeds had one head, and this test says little
    assert drops != both["top1"].details["by_seed"]
    assert "chance" not in both["top1_drop"].details


class Counted(Artifacts):
    """Counts what had to be computed, by kind."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.missed: list[str] = []

    def get(self, kind: str, key: Any, compute: Any) -> Any:
        """As it is, counting."""

        def counting() -> Any:
            self.missed.append(kind)
            return compute()

        return super().get(kind, key, counting)


def test_after_the_linear_probe_only_the_shifted_images_are_new(tmp_path: Path) -> None:
    """No head is fitted again, and no image of train, val or source goes through the network a second time."""
    dataset, _ = shifted(darker)
    plain, _ = classification()
    backbone, run = pixels(), RunContext(Counted(tmp_path))
    with count_forwards() as count:
        list(HEAD.evaluate(backbone, plain, run))
        assert run.artifacts.missed == ["features"] * 2 + ["heads", "features"]
        assert count.since_last() == 120 + 36 + 96
        list(OOD(head=HEAD).evaluate(backbone, dataset, run))
        assert run.artifacts.missed[4:] == ["features"]
        assert count.since_last() == 96


def test_the_photos_shifts_share_what_photos_made(tmp_path: Path) -> None:
    """Cut to 42 images a role: 42 + 42 + 42 for photos, then the 42 shifted ones alone, and no fit."""
    from bob_gauntlet.datasets.loading import limit_dataset, load

    photos, sketch = (limit_dataset(small(load(name)), 42) for name in ("photos", "photos-sketch"))
    backbone, run = pixels(), RunContext(Counted(tmp_path))
    with count_forwards() as count:
        list(HEAD.evaluate(backbone, photos, run))
        known = len(run.artifacts.missed)
        assert count.since_last() == sum(len(photos[role]) for role in ("train", "val", "test"))
        list(OOD(head=HEAD).evaluate(backbone, sketch, run))
        assert count.since_last() == len(sketch["test"])
        assert run.artifacts.missed[known:] == ["features"]


def small(dataset: Dataset) -> Dataset:
    """The same splits with 2 x 2 pixels, as the synthetic backbone takes them; fingerprints stay."""

    def shrunk(found: Split) -> Split:
        return replace(found, image=lambda i: found.image(i).resize((2, 2)))

    return replace(dataset, splits={role: shrunk(found) for role, found in dataset.splits.items()})


def test_another_head_setting_is_another_head(tmp_path: Path) -> None:
    """Other strengths share the features, not the fit."""
    dataset, _ = shifted(darker)
    backbone, run = pixels(), RunContext(Counted(tmp_path))
    list(HEAD.evaluate(backbone, dataset, run))
    del run.artifacts.missed[:]
    list(OOD(head=LinearProbe(strengths=(1.0, 0.5))).evaluate(backbone, dataset, run))
    assert sorted(run.artifacts.missed) == ["features", "heads"]


def test_id_and_size_are_the_heads() -> None:
    """A recipe around a recipe."""
    assert OOD().id == "ood-linear-probe"
    assert (OOD().input_size, OOD(head=LinearProbe(input_size=96)).input_size) == (None, 96)


def test_several_labels_an_image_are_refused(tmp_path: Path) -> None:
    """Before anything is computed."""
    dataset, _ = shifted(darker)
    backbone = pixels()
    with count_forwards() as count, pytest.raises(MissingError, match="synthetic has several labels per image"):
        list(OOD(head=HEAD).evaluate(backbone, replace(dataset, multi_label=True), context_in(tmp_path)))
    assert count.images == 0
