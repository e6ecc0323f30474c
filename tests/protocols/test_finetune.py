"""Fine-tuning end to end on a tiny network: its grid, its scores, and that whoever tests it trains nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.engine.training.loop import Trainer
from bob_gauntlet.protocols.adversarial import Adversarial
from bob_gauntlet.protocols.calibration import Calibration
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.ood import OOD
from bob_gauntlet.protocols.recipe import Measured
from tests.helpers import tiny
from tests.helpers.contexts import context_in

# two epochs of three steps with all augmentation
RECIPE = FineTune(epochs=2, warmup_epochs=1, batch=16, lrs=(1e-2,), weight_decays=(0.05,))
# without mixing, in which six steps teach something
PLAIN = replace(RECIPE, epochs=4, mixup=0.0, cutmix=0.0, erasing=0.0, auto_augment="")


def measure(
    recipe: Any, folder: Path, dataset: Dataset | None = None, backbone: Backbone | None = None, **options: Any
) -> dict[str, Measured]:
    """Metric -> what was measured."""
    found = recipe.evaluate(backbone or tiny.backbone(), dataset or tiny.dataset(), context_in(folder, **options))
    return {m.metric: m for m in found}


def configs(recipe: FineTune, **traits: Any) -> list[tuple[str, float, float, float | None]]:
    """Optimiser, rate, weight decay and layer decay of every run of the grid."""
    grid = recipe._classifier_config(tiny.backbone(**traits), 3)
    return [(config.optimiser, config.lr, config.weight_decay, config.layer_decay) for config in grid.configs]


def test_the_grid_is_the_papers() -> None:
    """Table 8: three rates and two weight decays; a random initialisation is tried at two higher rates as well."""
    pretrained = [("adamw", lr, wd, 0.75) for lr in (1e-3, 5e-4, 1e-4) for wd in (5e-2, 1e-3)]
    scratch = [("adamw", lr, wd, 0.75) for lr in (1e-2, 5e-3) for wd in (5e-2, 1e-3)]
    assert configs(FineTune()) == configs(FineTune(), family="conv") == pretrained
    assert configs(FineTune(), pretrained=False) == pretrained + scratch


def test_sgd_is_for_convolutional_networks_alone() -> None:
    """Without layer decay, at its own rates, also from a random initialisation."""
    recipe = FineTune(conv_sgd_lrs=(0.1, 0.05), weight_decays=(5e-2,), layer_decays=(0.65, 0.75), lrs=(5e-4,))
    sgd = [("sgd", 0.1, 0.05, None), ("sgd", 0.05, 0.05, None)]
    assert configs(recipe, family="conv") == configs(recipe, family="conv", pretrained=False) == sgd
    for family in ("transformer", "hybrid"):
        assert configs(recipe, family=family) == [("adamw", 5e-4, 0.05, 0.65), ("adamw", 5e-4, 0.05, 0.75)]


def test_every_field_comes_to_the_trainer() -> None:
    """The rest of a plan, and what is drawn of an image."""
    recipe = FineTune(
        epochs=7, warmup_epochs=3, warmup_lr=2e-4, min_lr=3e-6, batch=24, micro_batch=6, lrs=(1e-3, 1e-4),
        drop_path=0.2, mixup=0.3, cutmix=0.4, smoothing=0.5, auto_augment="rand-m1", erasing=0.6, amp=False,
        stop_beaten=True,
    )  # fmt: skip
    grid = recipe._classifier_config(tiny.backbone(), 3)
    config = grid.configs[0]
    assert (config.epochs, config.warmup_epochs, config.min_lr, config.micro_batch) == (7, 3, 3e-6, 6)
    assert (config.mixup, config.cutmix, config.smoothing, config.amp) == (0.3, 0.4, 0.5, False)
    assert (config.per_step, config.best_epoch, config.max_steps) == (False, False, None)
    # a warm-up goes up
    assert [p.warmup_lr for p in grid.configs] == [2e-4, 2e-4, 1e-4, 1e-4]
    assert (grid.batch, grid.drop_path, grid.stop_beaten, grid.frozen, grid.classes) == (24, 0.2, True, False, 3)
    own = grid.augmentation
    assert (own.auto_augment, own.erasing, own.smallest_crop, own.interpolation) == ("rand-m1", 0.6, 0.08, "random")
    assert replace(recipe, fidelity="paper")._classifier_config(tiny.backbone(), 3).configs[0].best_epoch


def test_the_input_size_is_the_recipes_where_the_network_takes_it() -> None:
    """Else the network's own."""
    vit = tiny.timm_backbone("test_vit")
    assert FineTune(input_size=48)._classifier_config(vit, 3).transform.size == 48
    assert FineTune()._classifier_config(vit, 3).transform.size == 32
    assert FineTune(input_size=48)._classifier_config(tiny.backbone(), 3).transform.size == tiny.SIDE


def test_the_score_is_that_of_the_networks_logits(tmp_path: Path) -> None:
    """Top-1 of the test images in %, with a value of each; top-5 of three classes says nothing."""
    found = measure(PLAIN, tmp_path)
    dataset = tiny.dataset()
    [network] = PLAIN.classifiers(tiny.backbone(), dataset, context_in(tmp_path))
    right = network.scores(dataset["test"], context_in(tmp_path)).argmax(axis=1) == dataset["test"].targets
    assert list(found) == ["top1"]
    top1 = found["top1"]
    assert top1.values is not None
    assert top1.values.tolist() == (100.0 * right).tolist()
    assert top1.value == pytest.approx(100 * right.mean())
    assert top1.value > 60
    assert (top1.examples, top1.clusters) == (dataset["test"].ids, dataset["test"].clusters)
    expected = {
        "selection": "best run on validation images after its last epoch",
        "run": ["adamw lr 0.01, weight decay 0.05, layer decay 0.75"], "seeds": [0], "effective_batch": 16,
        "micro_batch": 16, "train_images": 48, "validation_images": 24, "drop_path": 0.0,
    }  # fmt: skip
    assert expected.items() <= top1.details.items()
    assert top1.details["curve"]["epoch"] == [1, 2, 3, 4]
    assert top1.details["validation"] == [network.facts["judged"][0]]
    assert len(top1.details["runs"]) == 1


def test_processes_that_load_change_no_bit(tmp_path: Path) -> None:
    """Weights, curve and scores with all augmentation, stochastic depth and BatchNorm."""
    backbone = tiny.timm_backbone("test_resnet")
    found = [
        measure(replace(RECIPE, epochs=1), tmp_path / str(n), tiny.dataset(24, 6, 12), backbone, loader_processes=n)
        for n in (0, 1)
    ]
    assert tiny.network_artefacts(tmp_path / "0") == tiny.network_artefacts(tmp_path / "1") != {}
    assert found[0]["top1"].details["drop_path"] == 0.1
    assert found[0]["top1"].details == found[1]["top1"].details


def test_every_seed_is_a_network_and_the_score_their_mean(tmp_path: Path) -> None:
    """Each with the value that it has alone."""
    both = measure(PLAIN, tmp_path, seeds=(0, 1))["top1"]
    alone = [measure(PLAIN, tmp_path, seeds=(seed,))["top1"].value for seed in (0, 1)]
    assert len(tiny.network_artefacts(tmp_path)) == 2
    assert both.details["by_seed"] == pytest.approx(alone)
    assert both.value == pytest.approx(np.mean(alone))
    assert len(both.details["run"]) == len(both.details["validation"]) == 2


def shifted() -> Dataset:
    """The same dataset with its test images as `source`, and darker ones as `test`."""
    patterns = tiny.dataset()
    images = patterns["test"].image
    dark = replace(patterns["test"], fingerprint="dark", image=lambda i: images(i).point(lambda v: v // 2))
    return replace(patterns, splits={**patterns.splits, "source": patterns["test"], "test": dark})


def test_who_tests_it_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine-tuning, two shifts of the same training images, calibration and two attacks: one grid is trained."""
    trained: list[int] = []
    epoch = Trainer.train_epoch

    def counted(self: Trainer, *told: Any) -> float:
        trained.append(self.state.epoch)
        return epoch(self, *told)

    monkeypatch.setattr(Trainer, "train_epoch", counted)
    own = measure(PLAIN, tmp_path)["top1"]
    assert trained == [0, 1, 2, 3]
    ood = measure(OOD(head=PLAIN), tmp_path, shifted())
    calibrated = measure(Calibration(head=PLAIN), tmp_path)
    attacked = [measure(Adversarial(PLAIN, epsilon_255=e), tmp_path) for e in (4, 30)]
    assert trained == [0, 1, 2, 3]
    assert len(tiny.network_artefacts(tmp_path)) == 1
    # and each of them tests that network
    assert ood["top1"].details["source_top1"] == calibrated["top1"].value == own.value
    assert ood["top1_drop"].value == pytest.approx(own.value - ood["top1"].value)
    assert [found["top1_clean"].values.tolist() for found in attacked] == [own.values.tolist()] * 2  # type: ignore[union-attr]
    assert own.value > attacked[0]["top1"].value > attacked[1]["top1"].value
    for found in (ood["top1"], calibrated["ece"], attacked[0]["top1"]):
        assert found.details["run"] == own.details["run"]


def test_an_attack_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    """Its second score is the first."""
    recipe = Adversarial(PLAIN, epsilon_255=4)
    first, second = (measure(recipe, tmp_path)["top1"].values for _ in range(2))
    assert np.array_equal(first, second)  # type: ignore[arg-type]
    [network] = PLAIN.classifiers(tiny.backbone(), tiny.dataset(), context_in(tmp_path))
    module, classifier = network.differentiable()
    assert all(p.requires_grad for p in module.parameters())
    images = torch.rand(2, 3, tiny.SIDE, tiny.SIDE, requires_grad=True)
    classifier(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_the_temperature_is_fitted_on_images_that_chose_the_run(tmp_path: Path) -> None:
    """The validation images; none is left where the reported ones chose, and nothing is scaled."""
    from bob_gauntlet.metrics.calibration import fit_temperature

    found = measure(Calibration(head=PLAIN), tmp_path)
    [network] = PLAIN.classifiers(tiny.backbone(), tiny.dataset(), context_in(tmp_path))
    val = tiny.dataset()["val"]
    expected = fit_temperature(network.scores(val, context_in(tmp_path)), val.targets)
    assert found["ce_scaled"].details["temperature"] == [pytest.approx(expected)]
    as_paper = measure(Calibration(head=replace(PLAIN, fidelity="paper")), tmp_path)
    assert set(as_paper) == {"top1", "ce", "ece", "ece_adaptive"}


def test_the_original_s_way(tmp_path: Path) -> None:
    """The split that the paper reports, and its best epoch chosen on it: no lower than the last epoch's score."""
    dataset = replace(tiny.dataset(), paper_role="val")
    recipe = replace(PLAIN, fidelity="paper")
    found = measure(recipe, tmp_path, dataset)["top1"]
    assert found.examples == dataset["val"].ids
    assert found.details["selection"] == "best epoch of the best run on the reported images, as in the original"
    assert found.value == pytest.approx(max(found.details["curve"]["validation"]), abs=1e-3)
    assert found.details["validation"] == [pytest.approx(found.value)]
    assert (found.details["train_images"], found.details["validation_images"]) == (48, 24)
    assert (recipe.reported_role(dataset), PLAIN.reported_role(dataset)) == ("val", "test")


def test_images_of_several_labels_have_a_mean_auc(tmp_path: Path) -> None:
    """In %, against scikit-learn's of the same logits."""
    from sklearn.metrics import roc_auc_score

    rows = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1]])
    patterns = tiny.dataset()
    splits = {role: replace(split, targets=rows[split.targets]) for role, split in patterns.splits.items()}
    dataset = replace(patterns, splits=splits, multi_label=True)
    found = measure(RECIPE, tmp_path, dataset)
    [network] = RECIPE.classifiers(tiny.backbone(), dataset, context_in(tmp_path))
    expected = roc_auc_score(splits["test"].targets, network.scores(dataset["test"], context_in(tmp_path)))
    assert list(found) == ["mean_auc"]
    assert found["mean_auc"].value == pytest.approx(100 * expected)


def test_steps_cut_short_are_another_score(tmp_path: Path) -> None:
    """Of another artefact, whose runs say so."""
    whole, cut = measure(RECIPE, tmp_path), measure(RECIPE, tmp_path, max_steps=1)
    assert [found["top1"].details["runs"][0]["steps"] for found in (whole, cut)] == [6, 1]
    assert len(tiny.network_artefacts(tmp_path)) == 2


def test_arithmetic_is_named() -> None:
    """On a CPU nothing is mixed; without mixed precision nothing is on a GPU."""
    assert FineTune().precision("cpu") == FineTune(amp=False).precision("cuda:0") == "float32"
