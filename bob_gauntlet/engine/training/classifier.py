"""Classifiers: a grid search trains a network on a backbone, and the best network gives logits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.engine.frozen.features import (
    UNREADABLE,
    check_readable,
    load_batches,
    note_unreadable,
    with_unreadable_count,
)
from bob_gauntlet.engine.frozen.probe import validation_score
from bob_gauntlet.engine.training.config import TrainingConfig
from bob_gauntlet.engine.training.data_loader import Augmentation, create_image_loader
from bob_gauntlet.engine.training.examples import TrainingExamples
from bob_gauntlet.engine.training.grid_search import GridSearch, artefact_key, facts_of, load_or_train, weights_of
from bob_gauntlet.engine.training.loop import Trainer, half_precision
from bob_gauntlet.engine.training.loss import LabelLoss
from bob_gauntlet.engine.training.network import Network
from bob_gauntlet.engine.transforms import normalise, normaliser
from bob_gauntlet.errors import NotFiniteError
from bob_gauntlet.metrics.finite import describe_not_finite, require_finite
from bob_gauntlet.runtime.artifacts import digest
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.schema import Array, Arrays, Schema


@dataclass(frozen=True)
class ClassifierConfig:
    """Everything that the weights of a classifier depend on, except backbone, examples and seed."""

    # the grid: one training run for each configuration
    configs: tuple[TrainingConfig, ...]
    augmentation: Augmentation
    # images in one optimiser step
    batch: int
    transform: InputTransform
    classes: int
    # train only the head, not the backbone
    frozen: bool = False
    # rate of stochastic depth in the backbone
    drop_path: float = 0.0
    # end a run whose validation score is clearly behind that of the best run at the same epoch
    stop_beaten: bool = False


@dataclass
class TrainedClassifier:
    """The best network of a grid search with one seed; implements `protocols.heads.Classifier`."""

    backbone: Backbone
    classifier_config: ClassifierConfig
    examples: TrainingExamples
    seed: int
    # key of the artefact that holds the weights
    key: dict[str, Any]
    arrays: Arrays
    _network: Network | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The reason for the chosen run, and the results of the other runs, as plain types."""
        return facts_of(self.arrays)

    def network(self) -> Network:
        """Return the trained network in evaluation mode. It is built at the first call."""
        if self._network is None:
            network = _create_network(self.backbone, self.classifier_config)
            network.load_learned_state(weights_of(self.arrays))
            self._network = network.eval()
        return self._network

    def scores(self, split: Split, context: RunContext) -> np.ndarray:
        """Return the (N, C) logits of a split; they are kept as an artefact of network and split.

        Stored logits that are NaN or infinite are computed again, with a warning. Raises NotFiniteError where the
        network gives such logits.
        """
        key = {"network": digest(self.key), "split": split.fingerprint}
        names = "logits", f"images of {split.role}", split.ids

        def compute() -> Arrays:
            logits, unreadable = predict_logits(self.network(), split, self.classifier_config, context)
            if problem := describe_not_finite(logits, *names):
                raise NotFiniteError(f"{self.backbone.name}: after training {problem}; check its forward")
            return with_unreadable_count({"logits": logits}, unreadable)

        logits_array = Array("float32", (len(split), self.classifier_config.classes))
        schema = Schema(
            {"logits": logits_array, "unreadable": UNREADABLE}, lambda stored: require_finite(stored["logits"], *names)
        )
        arrays = context.artifacts.get("logits", key, compute, schema)
        note_unreadable(arrays, split, context)
        return arrays["logits"]

    def held_out(self, context: RunContext) -> tuple[np.ndarray, np.ndarray] | None:
        """Return logits and targets of the validation images; None where their score is the reported one."""
        if self.examples.validation_is_reported:
            return None
        return self.scores(self.examples.validation, context), self.examples.validation.targets

    def differentiable(self) -> tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
        """Return the network, and a function from (B, 3, H, W) images in [0, 1] to logits, with a gradient."""
        network, normalised = self.network(), normaliser(self.classifier_config.transform, self.backbone.device)
        return network, lambda images: network(normalised(images)).float()


def train_classifier(
    backbone: Backbone,
    examples: TrainingExamples,
    classifier_config: ClassifierConfig,
    seed: int,
    context: RunContext,
    recipe: dict[str, Any],
) -> TrainedClassifier:
    """Train a network for each configuration of the grid and return the one with the best validation score.

    `recipe` is the canonical form of the recipe, a part of the artefact's key. A classifier that was trained before is
    read from its artefact.
    """
    key = artefact_key(
        backbone, classifier_config.transform, examples, seed, context, recipe, amp=classifier_config.configs[0].amp
    )
    arrays = load_or_train(
        key,
        lambda: _create_search(backbone, examples, classifier_config, seed, context),
        lambda: _create_network(backbone, classifier_config),
        context,
    )
    return TrainedClassifier(backbone, classifier_config, examples, seed, key, arrays)


def _create_search(
    backbone: Backbone, examples: TrainingExamples, classifier_config: ClassifierConfig, seed: int, context: RunContext
) -> GridSearch:
    loader = create_image_loader(
        examples.train, classifier_config.transform, classifier_config.augmentation,
        batch_size=classifier_config.batch, seed=seed, workers=context.config.loader_processes,
        pin=context.config.device != "cpu",
    )  # fmt: skip

    def make_trainer(config: TrainingConfig) -> Trainer:
        network = _create_network(backbone, classifier_config)
        network.initialise(seed)
        loss_function = LabelLoss(config, classifier_config.classes, multi_label=examples.train.targets.ndim == 2)
        return Trainer(network, config, loader, loss_function, seed, context.config.device)

    def validate(network: Network) -> tuple[float, float]:
        logits, _ = predict_logits(network, examples.validation, classifier_config, context)
        require_finite(logits, "logits")
        return validation_score(logits, examples.validation.targets)

    return GridSearch(
        backbone=backbone, configs=classifier_config.configs, loader=loader, make_trainer=make_trainer,
        validate=validate, context=context, validation_images=len(examples.validation),
        stop_beaten=classifier_config.stop_beaten,
    )  # fmt: skip


def predict_logits(
    network: Network, split: Split, classifier_config: ClassifierConfig, context: RunContext
) -> tuple[np.ndarray, list[str]]:
    """Return the (N, C) float32 logits of a network in evaluation mode, and a reason for each unreadable image."""
    half_dtype = half_precision(context.config.device) if classifier_config.configs[0].amp else None
    logits: list[np.ndarray] = []
    unreadable: list[str] = []
    on_cpu = context.config.device == "cpu"
    for images, reasons in load_batches(
        split,
        classifier_config.transform,
        context.config.batch_size,
        on_cpu=on_cpu,
        threads=context.config.reader_threads,
    ):
        unreadable += reasons
        if not on_cpu:
            images = normalise(images.to(context.config.device, non_blocking=True), classifier_config.transform)
        device_type = torch.device(context.config.device).type
        with torch.no_grad(), torch.autocast(device_type, half_dtype, enabled=half_dtype is not None):
            logits.append(network(images).float().cpu().numpy())
    check_readable(unreadable, split)
    return np.concatenate(logits), unreadable


def _create_network(backbone: Backbone, classifier_config: ClassifierConfig) -> Network:
    return Network(
        backbone,
        classifier_config.classes,
        classifier_config.transform,
        frozen=classifier_config.frozen,
        drop_path=classifier_config.drop_path,
    )
