"""Low-shot fine-tuning: its images, its grid and its validation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.low_shot import LowShot
from bob_gauntlet.protocols.recipe import at_scale, canonical
from tests.helpers import tiny
from tests.helpers.contexts import context_in
from tests.helpers.fine_tuning import PLAIN, grid_rows, measure

QUARTER = LowShot(fraction=0.25, tuning=PLAIN)


def test_ids_say_the_fraction() -> None:
    """The id states the fraction in per cent."""
    ids = [LowShot(fraction=f).id for f in (0.1, 0.01, 0.25, 0.005)]
    assert ids == ["low-shot-10pct", "low-shot-1pct", "low-shot-25pct", "low-shot-0.5pct"]


def test_the_papers_grid() -> None:
    """Table 8: AdamW at three rates and two layer decays; SGD at two rates for convolutional networks."""
    for fraction in (0.1, 0.01):
        recipe = LowShot(fraction=fraction).fine_tuning
        expected = [("adamw", lr, 5e-2, ld) for lr in (5e-4, 2.5e-4, 1e-4) for ld in (0.65, 0.75)]
        assert grid_rows(recipe) == grid_rows(recipe, pretrained=False) == expected
        assert grid_rows(recipe, family="conv") == [("sgd", 0.1, 5e-2, None), ("sgd", 0.05, 5e-2, None)]


def test_a_hundredth_is_not_mixed() -> None:
    """At 1% there is no mixup, CutMix or erasing; at 10% there are all; RandAugment and smoothing are the same."""
    tenth, hundredth = LowShot(fraction=0.1).fine_tuning, LowShot(fraction=0.01).fine_tuning
    assert (tenth.mixup, tenth.cutmix, tenth.erasing) == (0.8, 1.0, 0.25)
    assert (hundredth.mixup, hundredth.cutmix, hundredth.erasing) == (0.0, 0.0, 0.0)
    assert (hundredth.auto_augment, hundredth.smoothing) == (tenth.auto_augment, tenth.smoothing) != ("", 0)


def test_a_tuning_of_ones_own_is_kept() -> None:
    """A `tuning` that is given is used unchanged."""
    assert QUARTER.fine_tuning is PLAIN
    assert LowShot(tuning=FineTune(input_size=96)).input_size == 96
    assert LowShot().input_size is None


def test_it_trains_on_the_fraction_and_chooses_on_all_of_val(tmp_path: Path) -> None:
    """It trains on 4 of 16 images per class, the details say so, and the score is of the test split."""
    measured = measure(QUARTER, tmp_path)["top1"]
    assert {"fraction": 0.25, "train_images": 12, "validation_images": 24}.items() <= measured.details.items()
    assert measured.examples == tiny.dataset()["test"].ids
    [network] = QUARTER.classifiers(tiny.backbone(), tiny.dataset(), context_in(tmp_path))
    logits = network.scores(tiny.dataset()["test"], context_in(tmp_path))
    assert measured.value == pytest.approx(100 * (logits.argmax(axis=1) == tiny.dataset()["test"].targets).mean())


def test_each_fraction_and_each_whole_has_a_network_of_its_own(tmp_path: Path) -> None:
    """A quarter, a half, and fine-tuning by the same recipe train three networks."""
    for recipe in (QUARTER, replace(QUARTER, fraction=0.5), PLAIN):
        measure(recipe, tmp_path)
    assert len(tiny.network_artefacts(tmp_path)) == 3


def test_every_seed_draws_its_fraction(tmp_path: Path) -> None:
    """Each seed draws other images, and equally many."""
    networks = QUARTER.classifiers(tiny.backbone(), tiny.dataset(), context_in(tmp_path, seeds=(0, 1)))
    train_splits = [network.examples.train for network in networks]
    assert [len(split) for split in train_splits] == [12, 12]
    assert set(train_splits[0].ids) != set(train_splits[1].ids)


def test_the_published_list_is_used(tmp_path: Path) -> None:
    """Where the dataset has a published list of the fraction, its images are used."""
    listed = np.array([5, 6, 7, 8])
    dataset = replace(tiny.dataset(), subsets={"25%": listed})
    [network] = QUARTER.classifiers(tiny.backbone(), dataset, context_in(tmp_path))
    assert network.examples.train.ids == tuple(f"train-{i}" for i in listed)


def test_the_original_s_way(tmp_path: Path) -> None:
    """With fidelity "paper", the best epoch is chosen on the reported images."""
    recipe = replace(QUARTER, tuning=replace(PLAIN, fidelity="paper"))
    dataset = replace(tiny.dataset(), paper_role="val")
    measured = measure(recipe, tmp_path, dataset)["top1"]
    assert measured.examples == dataset["val"].ids
    assert "reported images" in measured.details["selection"]
    assert recipe.reported_role(dataset) == "val"
    assert measured.value == pytest.approx(max(measured.details["curve"]["validation"]), abs=1e-3)


def test_the_form_names_fraction_and_tuning() -> None:
    """The canonical form holds fraction and tuning; the mini budget is that of fine-tuning with more epochs."""
    form = canonical(LowShot(fraction=0.01))
    assert (form["id"], form["version"], form["fraction"]) == ("low-shot-1pct", 1, 0.01)
    assert form["tuning"]["id"] == "finetune"
    mini = at_scale(LowShot(), "mini").fine_tuning
    assert (mini.input_size, mini.batch, mini.mixup, mini.amp, mini.stop_beaten) == (64, 32, 0.0, False, True)
    assert mini.epochs > at_scale(FineTune(), "mini").epochs
