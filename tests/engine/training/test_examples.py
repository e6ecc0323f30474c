"""Training and validation images: they are disjoint, and no test image is among them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.engine.training import examples as examples_module
from bob_gauntlet.engine.training.examples import (
    TrainingExamples,
    concatenate_splits,
    low_shot_examples,
    stratified_sample,
    training_examples,
)
from bob_gauntlet.errors import BobError
from tests.helpers import tiny


def ids(split: Split) -> set[str]:
    """Return the set of a split's ids, after a check that no id occurs twice."""
    assert len(set(split.ids)) == len(split.ids) == len(split.targets)
    return set(split.ids)


def check_disjoint(examples: TrainingExamples) -> TrainingExamples:
    """Return the examples, after a check that the splits are disjoint and contain no test image."""
    assert not ids(examples.train) & ids(examples.validation)
    assert not any(name.startswith("test") for name in ids(examples.train) | ids(examples.validation))
    return examples


def counts(split: Split) -> list[int]:
    """Return the number of images of each of three classes."""
    return np.bincount(split.targets, minlength=3).tolist()


def test_seed_0_uses_the_splits_of_the_dataset() -> None:
    """The splits are train and val themselves, so their features and other artefacts are shared."""
    patterns = tiny.dataset()
    examples = training_examples(patterns, 0)
    assert (examples.train, examples.validation, examples.validation_is_reported) == (
        patterns["train"],
        patterns["val"],
        False,
    )


def test_other_seeds_redistribute_the_images() -> None:
    """Another seed splits the same images in the same proportion in another way; an equal seed in the same way."""
    patterns = tiny.dataset()
    one, two, again = (check_disjoint(training_examples(patterns, seed)) for seed in (1, 2, 1))
    for examples in (one, two):
        assert ids(examples.train) | ids(examples.validation) == ids(patterns["train"]) | ids(patterns["val"])
        assert (counts(examples.train), counts(examples.validation)) == ([16] * 3, [8] * 3)
    assert ids(one.train) not in (ids(two.train), ids(patterns["train"]))
    assert (one.train.ids, one.key) == (again.train.ids, again.key)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_tenth_is_carved_out_where_there_is_no_validation_split(seed: int) -> None:
    """A tenth of every class becomes the validation split."""
    patterns = tiny.dataset(train=90, val=0)
    examples = check_disjoint(training_examples(patterns, seed))
    assert ids(examples.train) | ids(examples.validation) == ids(patterns["train"])
    assert (counts(examples.train), counts(examples.validation)) == ([27] * 3, [3] * 3)
    assert not examples.validation_is_reported


def test_at_most_10_000_images_are_carved_out() -> None:
    """Of 150,000 images in three classes, a fifteenth of each class becomes the validation split."""
    assert (examples_module.CARVED_SHARE, examples_module.MAX_CARVED) == (0.1, 10_000)
    many = 150_000
    train = Split("train", "many", tuple(map(str, range(many))), np.arange(many) % 3, tiny.split(1).image, ())
    examples = training_examples(
        Dataset("many", {"train": replace(train, clusters=train.ids)}, classes=("a", "b", "c")), 0
    )
    assert counts(examples.validation) == [3333] * 3
    assert len(examples.train) == many - 9999


def test_the_original_trains_on_all_of_train_and_validates_on_the_reported_split() -> None:
    """With `paper`, the validation split is the one that the paper reports, or else test, for every seed."""
    patterns = tiny.dataset()
    for paper_role, seed in (("test", 0), ("val", 0), ("elsewhere", 0), ("val", 1)):
        examples = training_examples(replace(patterns, paper_role=paper_role), seed, paper=True)
        assert examples.train is patterns["train"]
        assert examples.validation is patterns["test" if paper_role == "elsewhere" else paper_role]
        assert examples.validation_is_reported


def test_the_key_depends_on_both_splits() -> None:
    """Every other pair of splits has another key."""
    patterns, bare = tiny.dataset(), tiny.dataset(val=0)
    keys = [tuple(training_examples(patterns, seed).key) for seed in (0, 1, 2)]
    keys += [tuple(training_examples(bare, seed).key) for seed in (0, 1)]
    keys += [tuple(training_examples(patterns, 0, paper=True).key)]
    keys += [tuple(low_shot_examples(patterns, fraction, seed).key) for fraction in (0.1, 0.5) for seed in (0, 1)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(("fraction", "each"), [(0.25, 4), (0.1, 2), (0.01, 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_low_shot_draws_a_fraction_of_every_class(fraction: float, each: int, seed: int) -> None:
    """At least one image of each class is drawn; the validation images do not depend on the fraction."""
    patterns = tiny.dataset()
    examples = check_disjoint(low_shot_examples(patterns, fraction, seed))
    assert counts(examples.train) == [each] * 3
    assert ids(examples.train) < ids(training_examples(patterns, seed).train)
    assert examples.validation.fingerprint == training_examples(patterns, seed).validation.fingerprint
    assert low_shot_examples(patterns, fraction, seed).train.ids == examples.train.ids


def test_low_shot_without_a_validation_split() -> None:
    """A tenth is carved out for validation before the fraction is drawn."""
    examples = check_disjoint(low_shot_examples(tiny.dataset(train=90, val=0), 0.1, 0))
    assert (counts(examples.train), counts(examples.validation)) == ([3] * 3, [3] * 3)


def with_published_list(val: int) -> Dataset:
    """Return a dataset with 90 training images, nine of which are on the published list "10%"."""
    return replace(tiny.dataset(train=90, val=val), subsets={"10%": np.array([0, 1, 2, 30, 31, 32, 60, 61, 62])})


@pytest.mark.parametrize("val", [0, 24])
@pytest.mark.parametrize("paper", [False, True])
def test_seed_0_uses_the_published_list(val: int, paper: bool) -> None:
    """The training images are those on the list; validation is val, a tenth of the others, or the reported split."""
    patterns = with_published_list(val)
    examples = low_shot_examples(patterns, 0.1, 0, paper=paper)
    assert examples.train.ids == tuple(f"train-{i}" for i in (0, 1, 2, 30, 31, 32, 60, 61, 62))
    if paper:
        assert (examples.validation, examples.validation_is_reported) == (patterns["test"], True)
        return
    check_disjoint(examples)
    assert not examples.validation_is_reported
    if val:
        assert examples.validation is patterns["val"]
    else:
        # 27 of each class are not on the list; a tenth of them
        assert counts(examples.validation) == [3] * 3


def test_other_seeds_and_fractions_are_drawn() -> None:
    """The list is used only for its fraction and for seed 0."""
    patterns = with_published_list(24)
    listed = ids(low_shot_examples(patterns, 0.1, 0).train)
    assert ids(low_shot_examples(patterns, 0.1, 1).train) != listed
    assert len(low_shot_examples(patterns, 0.01, 0).train) == 3
    assert check_disjoint(low_shot_examples(patterns, 0.1, 1)).train.role == "train+val"


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    fraction=st.floats(0.001, 1.0),
    seed=st.integers(0, 9),
)
def test_a_stratified_sample(labels: list[int], fraction: float, seed: int) -> None:
    """The indices are sorted and unique, and each class has its rounded share, at least one; equal seeds are equal."""
    targets = np.array(labels)
    indices = stratified_sample(targets, fraction, seed)
    assert (np.diff(indices) > 0).all()
    assert np.array_equal(indices, stratified_sample(targets, fraction, seed))
    for label in set(labels):
        members = labels.count(label)
        assert int((targets[indices] == label).sum()) == max(1, round(fraction * members))


def test_a_sample_depends_on_the_seed() -> None:
    """Other seeds give other samples of the same size, and not simply the first images."""
    targets = np.zeros(50, np.int64)
    drawn = [stratified_sample(targets, 0.2, seed).tolist() for seed in range(5)]
    assert len({tuple(each) for each in [*drawn, range(10)]}) == 6


def test_images_with_several_labels_are_sampled_together() -> None:
    """With (N, C) targets, the fraction is drawn from all images."""
    rows = (np.arange(200).reshape(40, 5) % 3 == 0).astype(np.int64)
    assert len(stratified_sample(rows, 0.25, 0)) == 10
    assert len(stratified_sample(rows, 0.001, 0)) == 1


def test_concatenated_splits_are_in_order() -> None:
    """Ids, targets, clusters and images are those of each split in turn."""
    parts = [tiny.split(5), replace(tiny.split(3, "val"), clusters=("a", "b", "c")), tiny.split(4, "test")]
    whole = concatenate_splits(parts)
    assert (whole.role, whole.fingerprint) == ("train+val+test", "train 5+val 3+test 4")
    assert whole.ids == (*parts[0].ids, *parts[1].ids, *parts[2].ids)
    assert whole.clusters == (*parts[0].ids, "a", "b", "c", *parts[2].ids)
    assert whole.targets.tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 0, 1, 2, 0]
    images = [part.image(i).tobytes() for part in parts for i in range(len(part))]
    assert [whole.image(i).tobytes() for i in range(12)] == images
    assert len(set(images)) == 12
    assert concatenate_splits(parts[:1]) is parts[0]


def test_images_come_with_their_targets() -> None:
    """After redistribution and sampling, each id still has its own image and target."""
    patterns = tiny.dataset()
    by_id = {
        name: (int(target), patterns[role].image(i).tobytes())
        for role in ("train", "val")
        for i, (name, target) in enumerate(zip(patterns[role].ids, patterns[role].targets, strict=True))
    }
    examples = low_shot_examples(patterns, 0.25, 1)
    for split in (examples.train, examples.validation):
        for i, name in enumerate(split.ids):
            assert (int(split.targets[i]), split.image(i).tobytes()) == by_id[name]


def test_with_one_image_of_each_class_none_is_left_for_validation() -> None:
    """That is an error in one line; a published list that leaves no class with two images is not used."""
    lone = tiny.dataset(train=3, val=0)
    with pytest.raises(BobError, match="no training image is left to choose hyper-parameters on"):
        training_examples(lone, 0)
    six = replace(tiny.dataset(train=6, val=0), subsets={"10%": np.arange(3)})
    assert (
        low_shot_examples(six, 0.1, 0).train.fingerprint
        == low_shot_examples(replace(six, subsets={}), 0.1, 0).train.fingerprint
    )
