"""Tests of the partition of examples into those that fit a head and those that choose its hyper-parameters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.datasets.partition import VALIDATION_SHARE, partition

SEEDS = st.integers(0, 2**32)


@st.composite
def labels(draw: st.DrawFn) -> np.ndarray:
    """Draw the classes of 1 to 80 examples, unevenly distributed."""
    return np.array(draw(st.lists(st.integers(0, 5), min_size=1, max_size=80)), np.int64)


@given(labels(), SEEDS, st.data())
def test_every_example_is_in_exactly_one_part(targets: np.ndarray, seed: int, data: st.DataObject) -> None:
    """The parts are sorted, disjoint and complete, with a validation split and without."""
    train = data.draw(st.integers(1, len(targets)))
    fit, choose = partition(targets, train, seed)
    assert sorted([*fit, *choose]) == list(range(len(targets)))
    assert (np.diff(fit) > 0).all()
    assert (np.diff(choose) > 0).all()


@given(labels(), SEEDS, st.data())
def test_every_class_of_two_or_more_is_on_both_sides(targets: np.ndarray, seed: int, data: st.DataObject) -> None:
    """A class of two or more examples is in both parts, and a single example is fitted on.

    This holds where the validation split is no larger than the training split.
    """
    train = data.draw(st.integers((len(targets) + 1) // 2, len(targets)))
    if seed == 0 and train < len(targets):
        return
    fit, choose = partition(targets, train, seed)
    counts = np.bincount(targets)
    assert set(targets[fit]) == set(targets)
    assert set(targets[choose]) == set(np.flatnonzero(counts >= 2))


@given(st.integers(2, 50), st.integers(0, 50))
def test_seed_0_is_the_data_as_given(train: int, val: int) -> None:
    """With seed 0 the dataset's own validation split chooses, in its own order."""
    fit, choose = partition(np.zeros(train + val, np.int64), train, 0)
    if val:
        assert (fit.tolist(), choose.tolist()) == (list(range(train)), list(range(train, train + val)))
    else:
        assert len(choose) == max(1, round(VALIDATION_SHARE * train))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_another_seed_divides_in_the_same_proportion(seed: int) -> None:
    """With another seed, 60 + 20 examples of each of three classes stay 60 + 20 of each, and are other examples."""
    targets = np.concatenate([np.repeat([0, 1, 2], 60), np.repeat([0, 1, 2], 20)])
    _, choose = partition(targets, 180, seed)
    assert np.bincount(targets[choose]).tolist() == [20, 20, 20]
    assert choose.tolist() != list(range(180, 240))


def test_without_a_validation_split_a_fifth_of_each_class_is_chosen_on() -> None:
    """Without a validation split, 50, 20 and 5 examples of a class give 10, 4 and 1 to choose on, with seed 0 too."""
    targets = np.repeat([0, 1, 2], [50, 20, 5])
    for seed in (0, 1):
        assert np.bincount(targets[partition(targets, 75, seed)[1]]).tolist() == [10, 4, 1]


@given(labels(), SEEDS)
def test_a_seed_gives_the_same_parts_every_time(targets: np.ndarray, seed: int) -> None:
    """One seed gives the same parts every time, so that a resumed run fits on the same examples."""
    first, second = ([part.tolist() for part in partition(targets, len(targets), seed)] for _ in range(2))
    assert first == second


def test_examples_with_several_labels_are_divided_as_one_class() -> None:
    """Of 100 examples with several labels 20 are chosen on."""
    fit, choose = partition(np.ones((100, 3), np.int64), 100, 1)
    assert (len(fit), len(choose)) == (80, 20)
