"""Fine-tuning end to end on a tiny network: its grid, its scores, and that protocols which test it train nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.engine.training.loop import Trainer
from bob_gauntlet.protocols.adversarial import Adversarial
from bob_gauntlet.protocols.calibration import Calibration
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.ood import OOD
from tests.helpers import tiny
from tests.helpers.contexts import context_in
from tests.helpers.fine_tuning import AUGMENTED, PLAIN, grid_rows, measure


def test_the_grid_is_the_papers() -> None:
    """There are three rates and two weight decays (Table 8), and two higher rates for a random initialisation."""
    pretrained = [("adamw", lr, wd, 0.75) for lr in (1e-3, 5e-4, 1e-4) for wd in (5e-2, 1e-3)]
    scratch = [("adamw", lr, wd, 0.75) for lr in (1e-2, 5e-3) for wd in (5e-2, 1e-3)]
    assert grid_rows(FineTune()) == grid_rows(FineTune(), family="conv") == pretrained
    assert grid_rows(FineTune(), pretrained=False) == pretrained + scratch


def test_sgd_is_for_convolutional_networks_alone() -> None:
    """Convolutional networks use SGD at its own rates without layer decay, also from a random initialisation."""
    recipe = FineTune(conv_sgd_lrs=(0.1, 0.05), weight_decays=(5e-2,), layer_decays=(0.65, 0.75), lrs=(5e-4,))
    sgd = [("sgd", 0.1, 0.05, None), ("sgd", 0.05, 0.05, None)]
    assert grid_rows(recipe, family="conv") == grid_rows(recipe, family="conv", pretrained=False) == sgd
    for family in ("transformer", "hybrid"):
        assert grid_rows(recipe, family=family) == [("adamw", 5e-4, 0.05, 0.65), ("adamw", 5e-4, 0.05, 0.75)]


def test_every_field_comes_to_the_trainer() -> None:
    """Every other field is passed on to the training configuration and to the augmentation."""
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
    # the warm-up never starts above the learning rate
    assert [p.warmup_lr for p in grid.configs] == [2e-4, 2e-4, 1e-4, 1e-4]
    assert (grid.batch, grid.drop_path, grid.stop_beaten, grid.frozen, grid.classes) == (24, 0.2, True, False, 3)
    augmentation = grid.augmentation
    assert (augmentation.auto_augment, augmentation.erasing) == ("rand-m1", 0.6)
    assert (augmentation.smallest_crop, augmentation.interpolation) == (0.08, "random")
    assert replace(recipe, fidelity="paper")._classifier_config(tiny.backbone(), 3).configs[0].best_epoch


def test_the_input_size_is_the_recipes_where_the_network_takes_it() -> None:
    """The input size is the recipe's if the network accepts other sizes, else the network's own."""
    vit = tiny.timm_backbone("test_vit")
    assert FineTune(input_size=48)._classifier_config(vit, 3).transform.size == 48
    assert FineTune()._classifier_config(vit, 3).transform.size == 32
    assert FineTune(input_size=48)._classifier_config(tiny.backbone(), 3).transform.size == tiny.SIDE


def test_the_score_is_that_of_the_networks_logits(tmp_path: Path) -> None:
    """Top-1 in % has a value for each test image; there is no top-5 for three classes."""
    measured = measure(PLAIN, tmp_path)
    dataset = tiny.dataset()
    [network] = PLAIN.classifiers(tiny.backbone(), dataset, context_in(tmp_path))
    right = network.scores(dataset["test"], context_in(tmp_path)).argmax(axis=1) == dataset["test"].targets
    assert list(measured) == ["top1"]
    top1 = measured["top1"]
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
    """Weights, curve and scores do not depend on loader processes, with all augmentation, drop path and BatchNorm."""
    backbone = tiny.timm_backbone("test_resnet")
    measured = [
        measure(replace(AUGMENTED, epochs=1), tmp_path / str(n), tiny.dataset(24, 6, 12), backbone, loader_processes=n)
        for n in (0, 1)
    ]
    assert tiny.network_artefacts(tmp_path / "0") == tiny.network_artefacts(tmp_path / "1") != {}
    assert measured[0]["top1"].details["drop_path"] == 0.1
    assert measured[0]["top1"].details == measured[1]["top1"].details


def test_every_seed_is_a_network_and_the_score_their_mean(tmp_path: Path) -> None:
    """Each seed trains a network with the value that it has alone, and the score is their mean."""
    both = measure(PLAIN, tmp_path, seeds=(0, 1))["top1"]
    alone = [measure(PLAIN, tmp_path, seeds=(seed,))["top1"].value for seed in (0, 1)]
    assert len(tiny.network_artefacts(tmp_path)) == 2
    assert both.details["by_seed"] == pytest.approx(alone)
    assert both.value == pytest.approx(np.mean(alone))
    assert len(both.details["run"]) == len(both.details["validation"]) == 2


def shifted() -> Dataset:
    """Return the tiny dataset with its test images as `source`, and darker ones as `test`."""
    patterns = tiny.dataset()
    images = patterns["test"].image
    dark = replace(patterns["test"], fingerprint="dark", image=lambda i: images(i).point(lambda v: v // 2))
    return replace(patterns, splits={**patterns.splits, "source": patterns["test"], "test": dark})


def test_protocols_that_test_the_network_train_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine-tuning, a shift, calibration and two attacks train one grid and test the same network."""
    trained_epochs: list[int] = []
    train_epoch = Trainer.train_epoch

    def note_epoch(self: Trainer, *arguments: Any) -> float:
        trained_epochs.append(self.state.epoch)
        return train_epoch(self, *arguments)

    monkeypatch.setattr(Trainer, "train_epoch", note_epoch)
    top1 = measure(PLAIN, tmp_path)["top1"]
    assert trained_epochs == [0, 1, 2, 3]
    ood = measure(OOD(head=PLAIN), tmp_path, shifted())
    calibrated = measure(Calibration(head=PLAIN), tmp_path)
    attacked = [measure(Adversarial(PLAIN, epsilon_255=e), tmp_path) for e in (4, 30)]
    assert trained_epochs == [0, 1, 2, 3]
    assert len(tiny.network_artefacts(tmp_path)) == 1
    # and each of them tests that network
    assert ood["top1"].details["source_top1"] == calibrated["top1"].value == top1.value
    assert ood["top1_drop"].value == pytest.approx(top1.value - ood["top1"].value)
    assert [each["top1_clean"].values.tolist() for each in attacked] == [top1.values.tolist()] * 2  # type: ignore[union-attr]
    assert top1.value > attacked[0]["top1"].value > attacked[1]["top1"].value
    for each in (ood["top1"], calibrated["ece"], attacked[0]["top1"]):
        assert each.details["run"] == top1.details["run"]


def test_an_attack_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    """A second attack gives the values of the first, and the network still has gradients."""
    recipe = Adversarial(PLAIN, epsilon_255=4)
    first, second = (measure(recipe, tmp_path)["top1"].values for _ in range(2))
    assert np.array_equal(first, second)  # type: ignore[arg-type]
    [network] = PLAIN.classifiers(tiny.backbone(), tiny.dataset(), context_in(tmp_path))
    module, logits_function = network.differentiable()
    assert all(p.requires_grad for p in module.parameters())
    images = torch.rand(2, 3, tiny.SIDE, tiny.SIDE, requires_grad=True)
    logits_function(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_the_temperature_is_fitted_on_images_that_chose_the_run(tmp_path: Path) -> None:
    """The temperature is fitted on validation images; with fidelity "paper" none are left, and nothing is scaled."""
    from bob_gauntlet.metrics.calibration import fit_temperature

    measured = measure(Calibration(head=PLAIN), tmp_path)
    [network] = PLAIN.classifiers(tiny.backbone(), tiny.dataset(), context_in(tmp_path))
    val = tiny.dataset()["val"]
    expected = fit_temperature(network.scores(val, context_in(tmp_path)), val.targets)
    assert measured["ce_scaled"].details["temperature"] == [pytest.approx(expected)]
    as_paper = measure(Calibration(head=replace(PLAIN, fidelity="paper")), tmp_path)
    assert set(as_paper) == {"top1", "ce", "ece", "ece_adaptive"}


def test_the_original_s_way(tmp_path: Path) -> None:
    """With fidelity "paper", the best epoch is chosen on the split that the paper reports."""
    dataset = replace(tiny.dataset(), paper_role="val")
    recipe = replace(PLAIN, fidelity="paper")
    measured = measure(recipe, tmp_path, dataset)["top1"]
    assert measured.examples == dataset["val"].ids
    assert measured.details["selection"] == "best epoch of the best run on the reported images, as in the original"
    assert measured.value == pytest.approx(max(measured.details["curve"]["validation"]), abs=1e-3)
    assert measured.details["validation"] == [pytest.approx(measured.value)]
    assert (measured.details["train_images"], measured.details["validation_images"]) == (48, 24)
    assert (recipe.reported_role(dataset), PLAIN.reported_role(dataset)) == ("val", "test")


def test_images_of_several_labels_have_a_mean_auc(tmp_path: Path) -> None:
    """The mean AUC in % is scikit-learn's of the same logits."""
    from sklearn.metrics import roc_auc_score

    rows = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1]])
    patterns = tiny.dataset()
    splits = {role: replace(split, targets=rows[split.targets]) for role, split in patterns.splits.items()}
    dataset = replace(patterns, splits=splits, multi_label=True)
    measured = measure(AUGMENTED, tmp_path, dataset)
    [network] = AUGMENTED.classifiers(tiny.backbone(), dataset, context_in(tmp_path))
    expected = roc_auc_score(splits["test"].targets, network.scores(dataset["test"], context_in(tmp_path)))
    assert list(measured) == ["mean_auc"]
    assert measured["mean_auc"].value == pytest.approx(100 * expected)


def test_steps_cut_short_are_another_score(tmp_path: Path) -> None:
    """Training that is cut short has its own artefact, whose runs state their steps."""
    whole, cut = measure(AUGMENTED, tmp_path), measure(AUGMENTED, tmp_path, max_steps=1)
    assert [each["top1"].details["runs"][0]["steps"] for each in (whole, cut)] == [6, 1]
    assert len(tiny.network_artefacts(tmp_path)) == 2


def test_arithmetic_is_named() -> None:
    """The precision is float32 on a CPU, and on a GPU without mixed precision."""
    assert FineTune().precision("cpu") == FineTune(amp=False).precision("cuda:0") == "float32"
