"""A grid of training runs: the one that validation prefers, kept as an artefact.

What is done is on disk after every epoch: the same call, after whatever killed the last one, goes on from there.
"""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.engine.training import loop
from bob_gauntlet.engine.training.config import TrainingConfig
from bob_gauntlet.engine.training.data_loader import AugmentedLoader
from bob_gauntlet.engine.training.examples import TrainingExamples
from bob_gauntlet.engine.training.loop import Diverged, Trainer, TrainingState, Validate, half_precision
from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.artifacts import Arrays, digest
from bob_gauntlet.runtime.context import RunContext

log = logging.getLogger(__name__)


def load_or_train(key: dict[str, Any], search: "Callable[[], GridSearch]", context: RunContext) -> Arrays:
    """The weights and facts of the run that a search chooses, kept under `key`; made where they are not there."""
    folder = context.artifacts.root / "checkpoints" / digest(key)
    arrays = context.artifacts.get("networks", key, lambda: search().result(folder))
    # only now: until the artefact is on disk, the checkpoints are all there is
    shutil.rmtree(folder, ignore_errors=True)
    return arrays


def artefact_key(
    backbone: Backbone,
    transform: InputTransform,
    examples: TrainingExamples,
    seed: int,
    context: RunContext,
    recipe: dict[str, Any],
    *,
    amp: bool,
) -> dict[str, Any]:
    """What trained weights hang on: the key of their artefact; `recipe` is the canonical form."""
    return {
        "recipe": recipe,
        "backbone": backbone.identity.fingerprint,
        "transform": transform.canonical,
        "examples": examples.key,
        "seed": seed,
        "numerics": numerics(context.config.device, amp=amp),
        "max_steps": context.config.max_steps,
    }


def weights_of(arrays: Arrays) -> dict[str, torch.Tensor]:
    """What `Trainable.load_learned_state` takes."""
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items() if name != "facts"}


def facts_of(arrays: Arrays) -> dict[str, Any]:
    """How the run was chosen and what became of the others: plain types."""
    found: dict[str, Any] = json.loads(arrays["facts"].tobytes())
    return found


def numerics(device: str, *, amp: bool) -> str:
    """`cpu float32`, `cuda bfloat16`: what a trained network's arithmetic was."""
    half = half_precision(device) if amp else None
    return f"{torch.device(device).type} {str(half or torch.float32).removeprefix('torch.')}"


@dataclass
class GridSearch:
    """The runs of one grid, in order, each from where it was left."""

    backbone: Backbone
    configs: tuple[TrainingConfig, ...]
    loader: AugmentedLoader
    # a plan's trainer, at its beginning
    make_trainer: Callable[[TrainingConfig], Trainer]
    # validation score in %, and what decides between equal ones
    validate: Validate
    context: RunContext
    # validation images
    validation_images: int
    # end a run that validation shows to be clearly behind the best one at the same epoch
    stop_beaten: bool = False
    # what is finished: a record a run, and the weights and the curve of the best
    points: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    micro_batch: int = 0

    def result(self, folder: Path) -> Arrays:
        """Every run that is not done yet, then the best of all. BobError where the loss of all was not finite.

        `folder` holds the checkpoints, until the caller deletes it.
        """
        self.micro_batch = self.configs[0].micro_batch
        self._load(folder)
        images = len(self.loader) * self.loader.batch_size
        total = sum(config.epochs for config in self.configs) * images
        with self.context.progress.step(f"{self.backbone.name}: {len(self.configs)} training runs", total) as advance:
            advance(sum(config.epochs for config in self.configs[: len(self.points)]) * images)
            for number in range(len(self.points), len(self.configs)):
                self._one(number, folder, advance)
        if not self.weights:
            reasons = "; ".join(point["diverged"] for point in self.points)
            raise BobError(f"{self.backbone.name}: no training run ended: {reasons}")
        facts = {
            **self.best,
            "runs": self.points,
            "effective_batch": self.loader.batch_size,
            "train_images": self.loader.size,
            "validation_images": self.validation_images,
            "unreadable_images": len(self.loader.unreadable),
        }
        weights = {name: tensor.cpu().numpy() for name, tensor in self.weights.items()}
        return {**weights, "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}

    def _one(self, number: int, folder: Path, advance: Callable[[int], None]) -> None:
        """Train one run and take note of it."""
        config = replace(self.configs[number], micro_batch=self.micro_batch, max_steps=self.context.config.max_steps)
        path = folder / f"run-{number}.pt"
        record: dict[str, Any] = {"run": config.description}
        try:
            trainer = loop.train(lambda: self.make_trainer(config), self.validate, path, advance, self._beaten)
        except Diverged as error:
            log.warning("%s: %s; the other runs go on", self.backbone.name, error)
            record["diverged"] = str(error)
        else:
            state = trainer.state
            self.micro_batch = min(self.micro_batch, state.micro_batch)
            record |= {"validation": round(state.validation[0], 4), "epochs": state.epoch, "steps": state.steps}
            if state.epoch < config.epochs and self.context.config.max_steps is None:
                record["stopped"] = "clearly beaten"
            elif not self.best or state.validation > tuple(self.best["judged"]):
                self._keep(trainer, config)
            self.backbone.images_forwarded += trainer.network.images_forwarded
        self.points.append(record)
        self._save(folder)
        path.unlink(missing_ok=True)

    def _keep(self, trainer: Trainer, config: TrainingConfig) -> None:
        """The best run so far."""
        state = trainer.state
        self.weights = {name: tensor.detach().cpu().clone() for name, tensor in trainer.network.learned_state().items()}
        self.best = {
            "chosen": config.description,
            "judged": list(state.validation),
            "curve": state.curve,
            "micro_batch": min(state.micro_batch, self.loader.batch_size),
            "drop_path": trainer.network.drop_path,
        }

    def _beaten(self, state: TrainingState) -> bool:
        """Whether the run is behind the best one, at the same epoch, by more than two standard errors of the gap."""
        if not self.stop_beaten or not self.best or not state.curve["epoch"] or state.curve["epoch"][-1] < 2:
            return False
        theirs = dict(zip(self.best["curve"]["epoch"], self.best["curve"]["validation"], strict=True))
        best = theirs.get(state.curve["epoch"][-1])
        own = state.curve["validation"][-1]
        if best is None:
            return False
        share = (best + own) / 200
        error = 100 * (2 * share * (1 - share) / self.validation_images) ** 0.5
        return bool(own < best - 2 * error)

    def _save(self, folder: Path) -> None:
        whole = {
            "points": self.points,
            "best": self.best,
            "weights": self.weights,
            "micro_batch": self.micro_batch,
            "unreadable": sorted(self.loader.unreadable),
        }
        loop.write_checkpoint(folder / "finished.pt", whole)

    def _load(self, folder: Path) -> None:
        whole = loop.read_checkpoint(folder / "finished.pt", "cpu")
        if whole is not None:
            self.points, self.best, self.weights = whole["points"], whole["best"], whole["weights"]
            self.micro_batch = whole["micro_batch"]
            self.loader.unreadable.update(whole["unreadable"])
