"""Low-shot fine-tuning: which images, which grid, whose validation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.low_shot import LowShot
from bob_gauntlet.protocols.recipe import at_scale, canonical
from tests.helpers import tiny
from tests.helpers.contexts import context_in
from tests.protocols.test_finetune import PLAIN, configs, measure

QUARTER = LowShot(fraction=0.25, tuning=PLAIN)


def test_ids_say_the_fraction() -> None:
    """In per cent."""
    found = [LowShot(fraction=f).id for f in (0.1, 0.01, 0.25, 0.005)]
    assert found == ["low-shot-10pct", "low-shot-1pct", "low-shot-25pct", "low-shot-0.5pct"]


def test_the_papers_grid() -> None:
    """Table 8: AdamW at three rates and two layer decays; SGD at two rates for convolutional networks."""
    for fraction in (0.1, 0.01):
        recipe = LowShot(fraction=fraction).fine_tuning
        expected = [("adamw", lr, 5e-2, ld) for lr in (5e-4, 2.5e-4, 1e-4) for ld in (0.65, 0.75)]
        assert configs(recipe) == configs(recipe, pretrained=False) == expected
        assert configs(recipe, family="conv") == [("sgd", 0.1, 5e-2, None), ("sgd", 0.05, 5e-2, None)]


def test_a_hundredth_is_not_mixed() -> None:
    """Neither mixup nor CutMix nor erasing; a tenth has them all; RandAugment and smoothing stay."""
    tenth, hundredth = LowShot(fraction=0.1).fine_tuning, LowShot(fraction=0.01).fine_tuning
    assert (tenth.mixup, tenth.cutmix, tenth.erasing) == (0.8, 1.0, 0.25)
    assert (hundredth.mixup, hundredth.cutmix, hundredth.erasing) == (0.0, 0.0, 0.0)
    assert (hundredth.auto_augment, hundredth.smoothing) == (tenth.auto_augment, tenth.smoothing) != ("", 0)


def test_a_tuning_of_ones_own_is_kept() -> None:
    """As it is."""
    assert QUARTER.fine_tuning is PLAIN
    assert LowShot(tuning=FineTune(input_size=96)).input_size == 96
    assert LowShot().input_size is None


def test_it_trains_on_the_fraction_and_chooses_on_all_of_val(tmp_path: Path) -> None:
    """4 of 16 images a class; the details say so, and the score is of the test split."""
    found = measure(QUARTER, tmp_path)["top1"]
    assert {"fraction": 0.25, "train_images": 12, "validation_images": 24}.items() <= found.details.items()
    assert found.examples == tiny.dataset()["test"].ids
    [network] = QUARTER.classifiers(tiny.backbone(), tiny.dataset(), context_in(tmp_path))
    logits = network.scores(tiny.dataset()["test"], context_in(tmp_path))
    assert found.value == pytest.approx(100 * (logits.argmax(axis=1) == tiny.dataset()["test"].targets).mean())


def test_each_fraction_and_each_whole_has_a_network_of_its_own(tmp_path: Path) -> None:
    """A quarter, a half, and fine-tuning by the same recipe."""
    for recipe in (QUARTER, replace(QUARTER, fraction=0.5), PLAIN):
        measure(recipe, tmp_path)
    assert len(tiny.network_artefacts(tmp_path)) == 3


def test_every_seed_draws_its_fraction(tmp_path: Path) -> None:
    """Other images of the same count."""
    found = QUARTER.classifiers(tiny.backbone(), tiny.dataset(), context_in(tmp_path, seeds=(0, 1)))
    fits = [network.examples.train for network in found]
    assert [len(fit) for fit in fits] == [12, 12]
    assert set(fits[0].ids) != set(fits[1].ids)


def test_the_published_list_is_used(tmp_path: Path) -> None:
    """Where the dataset has one of that fraction."""
    listed = np.array([5, 6, 7, 8])
    dataset = replace(tiny.dataset(), subsets={"25%": listed})
    [network] = QUARTER.classifiers(tiny.backbone(), dataset, context_in(tmp_path))
    assert network.examples.train.ids == tuple(f"train-{i}" for i in listed)


def test_the_original_s_way(tmp_path: Path) -> None:
    """Its best epoch is chosen on the images that are reported."""
    recipe = replace(QUARTER, tuning=replace(PLAIN, fidelity="paper"))
    dataset = replace(tiny.dataset(), paper_role="val")
    found = measure(recipe, tmp_path, dataset)["top1"]
    assert found.examples == dataset["val"].ids
    assert "reported images" in found.details["selection"]
    assert recipe.reported_role(dataset) == "val"
    assert found.value == pytest.approx(max(found.details["curve"]["validation"]), abs=1e-3)


def test_the_form_names_fraction_and_tuning() -> None:
    """Its version and the tuning's; mini is fine-tuning's own budget with more epochs."""
    form = canonical(LowShot(fraction=0.01))
    assert (form["id"], form["version"], form["fraction"]) == ("low-shot-1pct", 1, 0.01)
    assert form["tuning"]["id"] == "finetune"
    mini = at_scale(LowShot(), "mini").fine_tuning
    assert (mini.input_size, mini.batch, mini.mixup, mini.amp, mini.stop_beaten) == (64, 32, 0.0, False, True)
    assert mini.epochs > at_scale(FineTune(), "mini").epochs
