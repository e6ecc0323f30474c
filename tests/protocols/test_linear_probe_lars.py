"""The paper's own linear probe: frozen backbone, augmented images, and its own kind of head."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from bob_gauntlet.protocols.linear_probe_lars import LinearProbeLARS
from tests.helpers import tiny
from tests.helpers.contexts import context_in
from tests.helpers.fine_tuning import measure

# twelve steps, each of which moves the weight by rate x 0.001 of its length: too few to learn much
RECIPE = LinearProbeLARS(epochs=4, warmup_epochs=1, batch=16, base_lr=32.0)


def test_the_training_config_is_maes() -> None:
    """Table 8: LARS without weight decay, rate 0.1 x batch / 256, warm-up from 0 in 10 epochs, cosine by steps."""
    grid = LinearProbeLARS()._classifier_config(tiny.backbone(), 3)
    [config] = grid.configs
    assert (config.optimiser, config.weight_decay, config.layer_decay) == ("lars", 0.0, None)
    assert (config.lr, config.epochs, config.warmup_epochs) == (pytest.approx(1.6), 90, 10)
    assert (config.warmup_lr, config.min_lr, config.per_step, config.best_epoch) == (0.0, 0.0, True, False)
    assert (config.mixup, config.cutmix, config.smoothing, config.micro_batch, grid.batch) == (0, 0, 0, 512, 4096)
    assert (grid.frozen, grid.drop_path) == (True, 0.0)
    augmentation = grid.augmentation
    assert (augmentation.smallest_crop, augmentation.auto_augment) == (0.08, "")
    assert (augmentation.erasing, augmentation.interpolation) == (0.0, "bicubic")
    assert LinearProbeLARS(fidelity="paper")._classifier_config(tiny.backbone(), 3).configs[0].best_epoch
    assert LinearProbeLARS(batch=512, base_lr=0.3)._classifier_config(tiny.backbone(), 3).configs[
        0
    ].lr == pytest.approx(0.6)


def test_the_head_alone_is_kept(tmp_path: Path) -> None:
    """The artefact holds the linear layer and the statistics before it, and the score is that of this head."""
    backbone, dataset = tiny.backbone(), tiny.dataset()
    measured = measure(RECIPE, tmp_path, dataset, backbone)["top1"]
    [content] = tiny.network_artefacts(tmp_path).values()
    kept = load(content[32:])
    assert set(kept) == {
        "facts", "head.0.running_mean", "head.0.running_var", "head.0.num_batches_tracked", "head.1.weight",
        "head.1.bias",
    }  # fmt: skip
    test = dataset["test"]
    [network] = RECIPE.classifiers(backbone, dataset, context_in(tmp_path))
    logits = network.scores(test, context_in(tmp_path))
    pixels = np.stack([np.asarray(test.image(i).resize((4, 4), resample=3)) for i in range(len(test))])
    with torch.no_grad():
        features = backbone.embed(torch.from_numpy(pixels.transpose(0, 3, 1, 2) / 127.5 - 1).float()).numpy()
    scaled = (features - kept["head.0.running_mean"]) / np.sqrt(kept["head.0.running_var"] + 1e-6)
    assert logits == pytest.approx(scaled @ kept["head.1.weight"].T + kept["head.1.bias"], abs=1e-4)
    assert measured.value == pytest.approx(100 * (logits.argmax(axis=1) == test.targets).mean())


def test_the_backbone_of_every_seed_is_the_same(tmp_path: Path) -> None:
    """No seed changes the backbone; two seeds have two heads, and the score is their mean."""
    backbone = tiny.backbone(dropout=0.5)
    before = tiny.weights(backbone.module)
    measured = measure(RECIPE, tmp_path, backbone=backbone, seeds=(0, 1))["top1"]
    assert tiny.identical(before, tiny.weights(backbone.module))
    assert len(tiny.network_artefacts(tmp_path)) == 2
    assert measured.value == pytest.approx(np.mean(measured.details["by_seed"]))
    assert measured.details["run"] == ["lars lr 2, weight decay 0"] * 2


def test_processes_that_load_change_no_bit(tmp_path: Path) -> None:
    """Head, curve and score do not depend on loader processes."""
    for loaders in (0, 1):
        measure(RECIPE, tmp_path / str(loaders), loader_processes=loaders)
    assert tiny.network_artefacts(tmp_path / "0") == tiny.network_artefacts(tmp_path / "1") != {}


def test_the_original_s_way(tmp_path: Path) -> None:
    """With fidelity "paper", the best epoch is chosen on the reported images."""
    dataset = replace(tiny.dataset(), paper_role="val")
    recipe = replace(RECIPE, fidelity="paper")
    measured = measure(recipe, tmp_path, dataset)["top1"]
    assert measured.examples == dataset["val"].ids
    assert measured.value == pytest.approx(max(measured.details["curve"]["validation"]), abs=1e-3)
    assert "reported images" in measured.details["selection"]


def test_arithmetic_is_named() -> None:
    """The precision is float32 on a CPU, and on a GPU without mixed precision."""
    assert LinearProbeLARS().precision("cpu") == LinearProbeLARS(amp=False).precision("cuda:0") == "float32"
