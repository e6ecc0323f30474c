"""What a network is trained on and what chooses its hyper-parameters: never the same images, never the test split."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.engine.training import examples as module
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
    """As a set; no id comes twice."""
    assert len(set(split.ids)) == len(split.ids) == len(split.targets)
    return set(split.ids)


def checked(found: TrainingExamples) -> TrainingExamples:
    """Disjoint, and no test image in either."""
    assert not ids(found.train) & ids(found.validation)
    assert not any(name.startswith("test") for name in ids(found.train) | ids(found.validation))
    return found


def counts(split: Split) -> list[int]:
    """Images of each of three classes."""
    return np.bincount(split.targets, minlength=3).tolist()


def test_seed_0_is_the_data_as_given() -> None:
    """Train and val themselves, which share their features and their artefacts with whatever else uses them."""
    patterns = tiny.dataset()
    found = training_examples(patterns, 0)
    assert (found.train, found.validation, found.validation_is_reported) == (patterns["train"], patterns["val"], False)


def test_other_seeds_deal_them_out_anew() -> None:
    """The same images in the same proportion, class by class; another deal for another seed, the same for the same."""
    patterns = tiny.dataset()
    one, two, again = (checked(training_examples(patterns, seed)) for seed in (1, 2, 1))
    for found in (one, two):
        assert ids(found.train) | ids(found.validation) == ids(patterns["train"]) | ids(patterns["val"])
        assert (counts(found.train), counts(found.validation)) == ([16] * 3, [8] * 3)
    assert ids(one.train) not in (ids(two.train), ids(patterns["train"]))
    assert (one.train.ids, one.key) == (again.train.ids, again.key)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_tenth_is_carved_out_where_there_is_no_validation_split(seed: int) -> None:
    """Of every class."""
    patterns = tiny.dataset(train=90, val=0)
    found = checked(training_examples(patterns, seed))
    assert ids(found.train) | ids(found.validation) == ids(patterns["train"])
    assert (counts(found.train), counts(found.validation)) == ([27] * 3, [3] * 3)
    assert not found.validation_is_reported


def test_what_is_carved_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 images: of 150,000 in three classes, a fifteenth of each."""
    assert (module.CARVED_SHARE, module.MAX_CARVED) == (0.1, 10_000)
    many = 150_000
    train = Split("train", "many", tuple(map(str, range(many))), np.arange(many) % 3, tiny.split(1).image, ())
    found = training_examples(
        Dataset("many", {"train": replace(train, clusters=train.ids)}, classes=("a", "b", "c")), 0
    )
    assert counts(found.validation) == [3333] * 3
    assert len(found.train) == many - 9999


def test_the_original_trains_on_all_of_train_and_chooses_on_what_it_reports() -> None:
    """`fidelity="paper"`: the split that the paper names, else test; for every seed."""
    patterns = tiny.dataset()
    for paper_role, seed in (("test", 0), ("val", 0), ("elsewhere", 0), ("val", 1)):
        found = training_examples(replace(patterns, paper_role=paper_role), seed, paper=True)
        assert found.train is patterns["train"]
        assert found.validation is patterns["test" if paper_role == "elsewhere" else paper_role]
        assert found.validation_is_reported


def test_the_key_tells_deals_apart() -> None:
    """By the images of both sides."""
    patterns, bare = tiny.dataset(), tiny.dataset(val=0)
    keys = [tuple(training_examples(patterns, seed).key) for seed in (0, 1, 2)]
    keys += [tuple(training_examples(bare, seed).key) for seed in (0, 1)]
    keys += [tuple(training_examples(patterns, 0, paper=True).key)]
    keys += [tuple(low_shot_examples(patterns, fraction, seed).key) for fraction in (0.1, 0.5) for seed in (0, 1)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(("fraction", "each"), [(0.25, 4), (0.1, 2), (0.01, 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_low_shot_draws_a_fraction_of_every_class(fraction: float, each: int, seed: int) -> None:
    """At least one image; what chooses is that of the whole dataset."""
    patterns = tiny.dataset()
    found = checked(low_shot_examples(patterns, fraction, seed))
    assert counts(found.train) == [each] * 3
    assert ids(found.train) < ids(training_examples(patterns, seed).train)
    assert found.validation.fingerprint == training_examples(patterns, seed).validation.fingerprint
    assert low_shot_examples(patterns, fraction, seed).train.ids == found.train.ids


def test_low_shot_without_a_validation_split() -> None:
    """A tenth is carved out before the fraction is drawn."""
    found = checked(low_shot_examples(tiny.dataset(train=90, val=0), 0.1, 0))
    assert (counts(found.train), counts(found.validation)) == ([3] * 3, [3] * 3)


def published(val: int) -> Dataset:
    """90 training images, of which a list names nine, the 10%."""
    return replace(tiny.dataset(train=90, val=val), subsets={"10%": np.array([0, 1, 2, 30, 31, 32, 60, 61, 62])})


@pytest.mark.parametrize("val", [0, 24])
@pytest.mark.parametrize("paper", [False, True])
def test_the_published_list_is_seed_0s(val: int, paper: bool) -> None:
    """Just those images; what chooses is val, a tenth of the others, or what the paper reports."""
    patterns = published(val)
    found = low_shot_examples(patterns, 0.1, 0, paper=paper)
    assert found.train.ids == tuple(f"train-{i}" for i in (0, 1, 2, 30, 31, 32, 60, 61, 62))
    if paper:
        assert (found.validation, found.validation_is_reported) == (patterns["test"], True)
        return
    checked(found)
    assert not found.validation_is_reported
    if val:
        assert found.validation is patterns["val"]
    else:
        # 27 of each class are not on the list; a tenth of them
        assert counts(found.validation) == [3] * 3


def test_other_seeds_and_fractions_are_drawn() -> None:
    """The list is of one fraction and stands for one draw."""
    patterns = published(24)
    listed = ids(low_shot_examples(patterns, 0.1, 0).train)
    assert ids(low_shot_examples(patterns, 0.1, 1).train) != listed
    assert len(low_shot_examples(patterns, 0.01, 0).train) == 3
    assert checked(low_shot_examples(patterns, 0.1, 1)).train.role == "train+val"


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    fraction=st.floats(0.001, 1.0),
    seed=st.integers(0, 9),
)
def test_a_stratified_draw(labels: list[int], fraction: float, seed: int) -> None:
    """Sorted, without repetition, of every class its share to the nearest, at least one; the same for a seed."""
    targets = np.array(labels)
    found = stratified_sample(targets, fraction, seed)
    assert (np.diff(found) > 0).all()
    assert np.array_equal(found, stratified_sample(targets, fraction, seed))
    for label in set(labels):
        members = labels.count(label)
        assert int((targets[found] == label).sum()) == max(1, round(fraction * members))


def test_a_draw_is_the_seeds() -> None:
    """Of equally many, others; not simply the first."""
    targets = np.zeros(50, np.int64)
    drawn = [stratified_sample(targets, 0.2, seed).tolist() for seed in range(5)]
    assert len({tuple(each) for each in [*drawn, range(10)]}) == 6


def test_of_several_labels_an_image_the_draw_is_of_all_images() -> None:
    """There is no class to draw from."""
    rows = (np.arange(200).reshape(40, 5) % 3 == 0).astype(np.int64)
    assert len(stratified_sample(rows, 0.25, 0)) == 10
    assert len(stratified_sample(rows, 0.001, 0)) == 1


def test_joined_splits_follow_each_other() -> None:
    """Ids, targets, clusters and images, each from its own."""
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
    """After dealing out anew and drawing a fraction: the id tells which image it is."""
    patterns = tiny.dataset()
    by_id = {
        name: (int(target), patterns[role].image(i).tobytes())
        for role in ("train", "val")
        for i, (name, target) in enumerate(zip(patterns[role].ids, patterns[role].targets, strict=True))
    }
    found = low_shot_examples(patterns, 0.25, 1)
    for split in (found.train, found.validation):
        for i, name in enumerate(split.ids):
            assert (int(split.targets[i]), split.image(i).tobytes()) == by_id[name]


def test_one_image_of_each_class_can_spare_none() -> None:
    """An error in one line; a published list that leaves no class two is not used."""
    lone = tiny.dataset(train=3, val=0)
    with pytest.raises(BobError, match="no training image is left to choose hyper-parameters on"):
        training_examples(lone, 0)
    six = replace(tiny.dataset(train=6, val=0), subsets={"10%": np.arange(3)})
    assert (
        low_shot_examples(six, 0.1, 0).train.fingerprint
        == low_shot_examples(replace(six, subsets={}), 0.1, 0).train.fingerprint
    )
