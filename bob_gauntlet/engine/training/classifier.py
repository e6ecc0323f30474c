"""Training a classifier on a backbone over a grid, and testing it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.engine.frozen.features import check_readable, load_batches, note_unreadable, with_unreadable_count
from bob_gauntlet.engine.frozen.probe import validation_score
from bob_gauntlet.engine.training.config import TrainingConfig
from bob_gauntlet.engine.training.data_loader import Augmentation, create_image_loader
from bob_gauntlet.engine.training.examples import TrainingExamples
from bob_gauntlet.engine.training.grid_search import GridSearch, artefact_key, facts_of, load_or_train, weights_of
from bob_gauntlet.engine.training.loop import Trainer, half_precision
from bob_gauntlet.engine.training.loss import LabelLoss
from bob_gauntlet.engine.training.network import Network
from bob_gauntlet.engine.transforms import normalise, normaliser
from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.artifacts import Arrays, digest
from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class ClassifierConfig:
    """What is trained, and how: everything that the chosen network depends on beside backbone, examples and seed."""

    configs: tuple[TrainingConfig, ...]
    augmentation: Augmentation
    # images of an optimiser step
    batch: int
    transform: InputTransform
    classes: int
    # of the backbone: only the head learns, or stochastic depth
    frozen: bool = False
    drop_path: float = 0.0
    # end a run that validation shows to be clearly behind the best one at the same epoch
    stop_beaten: bool = False


@dataclass
class TrainedClassifier:
    """The chosen network of one seed (`protocols.heads.Classifier`)."""

    backbone: Backbone
    classifier_config: ClassifierConfig
    examples: TrainingExamples
    seed: int
    # of the artefact that holds the weights
    key: dict[str, Any]
    arrays: Arrays
    _network: Network | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """How the run was chosen and what became of the others: plain types."""
        return facts_of(self.arrays)

    def network(self) -> Network:
        """The trained network, in evaluation mode; built at the first call."""
        if self._network is None:
            network = _network(self.backbone, self.classifier_config)
            network.load_learned_state(weights_of(self.arrays))
            self._network = network.eval()
        return self._network

    def scores(self, split: Split, context: RunContext) -> np.ndarray:
        """(N, C) logits, kept by network and split; BobError where they are not finite."""
        key = {"network": digest(self.key), "split": split.fingerprint}

        def compute() -> Arrays:
            network = self.network()
            before = network.images_forwarded
            found, unreadable = predict_logits(network, split, self.classifier_config, context)
            self.backbone.images_forwarded += network.images_forwarded - before
            return with_unreadable_count({"logits": found}, unreadable)

        kept = context.artifacts.get("logits", key, compute)
        note_unreadable(kept, split, context)
        found = kept["logits"]
        if not np.isfinite(found).all():
            raise BobError(f"{self.backbone.name}: after training, its logits of {split.role} are NaN or infinite")
        return found

    def held_out(self, context: RunContext) -> tuple[np.ndarray, np.ndarray] | None:
        """Logits and targets of the images that chose the run; None where they are the reported ones."""
        if self.examples.validation_is_reported:
            return None
        return self.scores(self.examples.validation, context), self.examples.validation.targets

    def differentiable(self) -> tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
        """The network, and normalisation and network in one."""
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
    """The network that a grid gives, from the artefacts where it was trained before."""
    key = artefact_key(
        backbone, classifier_config.transform, examples, seed, context, recipe, amp=classifier_config.configs[0].amp
    )

    def search() -> GridSearch:
        loader = create_image_loader(
            examples.train, classifier_config.transform, classifier_config.augmentation,
            batch_size=classifier_config.batch, seed=seed, workers=context.config.loader_processes,
            pin=context.config.device != "cpu",
        )  # fmt: skip

        def make_trainer(config: TrainingConfig) -> Trainer:
            network = _network(backbone, classifier_config)
            network.initialise(seed)
            loss_function = LabelLoss(config, classifier_config.classes, multi_label=examples.train.targets.ndim == 2)
            return Trainer(network, config, loader, loss_function, seed, context.config.device)

        def validate(network: Network) -> tuple[float, float]:
            logits, _ = predict_logits(network, examples.validation, classifier_config, context)
            return validation_score(logits, examples.validation.targets)

        return GridSearch(
            backbone=backbone, configs=classifier_config.configs, loader=loader, make_trainer=make_trainer,
            validate=validate, context=context, validation_images=len(examples.validation),
            stop_beaten=classifier_config.stop_beaten,
        )  # fmt: skip

    return TrainedClassifier(backbone, classifier_config, examples, seed, key, load_or_train(key, search, context))


def predict_logits(
    network: Network, split: Split, classifier_config: ClassifierConfig, context: RunContext
) -> tuple[np.ndarray, list[str]]:
    """(N, C) float32 logits of a network in evaluation mode, and why some images could not be read."""
    half = half_precision(context.config.device) if classifier_config.configs[0].amp else None
    parts: list[np.ndarray] = []
    unreadable: list[str] = []
    on_cpu = context.config.device == "cpu"
    for images, broken in load_batches(
        split,
        classifier_config.transform,
        context.config.batch_size,
        on_cpu=on_cpu,
        threads=context.config.reader_threads,
    ):
        unreadable += broken
        if not on_cpu:
            images = normalise(images.to(context.config.device, non_blocking=True), classifier_config.transform)
        with torch.no_grad(), torch.autocast(torch.device(context.config.device).type, half, enabled=half is not None):
            parts.append(network(images).float().cpu().numpy())
    check_readable(unreadable, split)
    return np.concatenate(parts), unreadable


def _network(backbone: Backbone, classifier_config: ClassifierConfig) -> Network:
    return Network(
        backbone,
        classifier_config.classes,
        classifier_config.transform,
        frozen=classifier_config.frozen,
        drop_path=classifier_config.drop_path,
    )
