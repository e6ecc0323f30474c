"""Grid search: train one network for each configuration and keep the one with the best validation score.

Progress is saved once a minute, and after every run but the last, which the artefact follows at once. If the process
is killed, the same call continues from the last saved state.
"""

import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.engine.training import loop
from bob_gauntlet.engine.training.config import TrainingConfig
from bob_gauntlet.engine.training.data_loader import AugmentedLoader
from bob_gauntlet.engine.training.examples import TrainingExamples
from bob_gauntlet.engine.training.loop import Diverged, Trainer, Validate, half_precision
from bob_gauntlet.engine.training.state import TrainingState
from bob_gauntlet.engine.training.trainable import Trainable
from bob_gauntlet.errors import BobError, NotFiniteError, named
from bob_gauntlet.runtime.artifacts import digest
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.packing import pack_json, unpack_json
from bob_gauntlet.runtime.schema import Array, Arrays, Json, Schema
from bob_gauntlet.scores.json_types import misfit
from bob_gauntlet.scores.provenance import CurveDict

log = logging.getLogger(__name__)


class _SearchFacts(TypedDict):
    """The facts that are stored with the weights of a grid search: the chosen run, its scores, and the other runs."""

    chosen: str
    # validation score in % and tie-breaker; both are -infinity where nothing was validated
    judged: tuple[float, float]
    curve: CurveDict
    micro_batch: int
    drop_path: float
    runs: list[dict[str, Any]]
    effective_batch: int
    train_images: int
    validation_images: int
    unreadable_images: int


class _FinishedRuns(TypedDict):
    """The content of the file that is saved after each run of a grid search; `points` are the records of the runs."""

    points: list[dict[str, Any]]
    best: dict[str, Any]
    weights: dict[str, torch.Tensor]
    micro_batch: int
    # indices of training images
    unreadable: list[int]


def load_or_train(
    key: dict[str, Any],
    create_search: "Callable[[], GridSearch]",
    create_network: Callable[[], Trainable],
    context: RunContext,
) -> Arrays:
    """Return weights and facts of the best run of a grid search from the artefact of `key`, or train and keep them.

    `create_network` returns a network that the weights have to fit. A stored network that diverged is trained again,
    with a warning.
    """

    def schema() -> Schema:
        weights = {
            name: Array(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
            for name, tensor in create_network().learned_state().items()
        }
        return Schema({**weights, "facts": Json(_SearchFacts)}, refuse_diverged)

    folder = context.artifacts.root / "checkpoints" / digest(key)
    arrays = context.artifacts.get("networks", key, lambda: create_search().run(folder), schema)
    # only after the artefact is on disk: until then, nothing else holds what was trained
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
    """Return the key of the artefact of trained weights: all that they depend on.

    `recipe` is the canonical form of the recipe.
    """
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
    """Return the weights in an artefact of `load_or_train`, as `Trainable.load_learned_state` takes them."""
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items() if name != "facts"}


def facts_of(arrays: Arrays) -> dict[str, Any]:
    """Return from an artefact how the best run was chosen, and what became of the other runs, as plain types."""
    return unpack_json(arrays["facts"])


def refuse_diverged(arrays: Arrays) -> None:
    """Raise NotFiniteError where an artefact of `load_or_train` holds a network that diverged."""
    if bad := places_of_nan(weights_of(arrays), facts_of(arrays)["judged"]):
        raise NotFiniteError(f"the training diverged: NaN is in {named(bad)}")


def places_of_nan(weights: Mapping[str, torch.Tensor], validation: Sequence[float]) -> list[str]:
    """Return the names of the weights that hold NaN, and of the validation score if it is NaN.

    Infinity is no sign of divergence, since masks are made of it.
    """
    names = [name for name, tensor in weights.items() if tensor.isnan().any()]
    return names + ["the validation score"] * any(map(math.isnan, validation))


def numerics(device: str, *, amp: bool) -> str:
    """Return device type and precision of a training, such as `cpu float32` or `cuda bfloat16`."""
    half_dtype = half_precision(device) if amp else None
    return f"{torch.device(device).type} {str(half_dtype or torch.float32).removeprefix('torch.')}"


@dataclass
class GridSearch:
    """The training runs of one grid. They are trained in order, and each continues from its checkpoint."""

    backbone: Backbone
    configs: tuple[TrainingConfig, ...]
    loader: AugmentedLoader
    # returns a trainer that has not begun
    make_trainer: Callable[[TrainingConfig], Trainer]
    # None where there is one run and no curve, so that nothing would be chosen by it
    validate: Validate | None
    context: RunContext
    # number of validation images
    validation_images: int
    # end a run whose validation score is clearly behind that of the best run at the same epoch
    stop_beaten: bool = False
    # one record for each finished run
    records: list[dict[str, Any]] = field(default_factory=list)
    # facts and weights of the best finished run
    best: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    micro_batch: int = 0

    def run(self, folder: Path) -> Arrays:
        """Train every run that is not finished, and return weights and facts of the best run.

        `folder` holds the checkpoints; the caller deletes it. A run that diverged, whose loss or validation became NaN
        or infinite, is never the best; its record says so. Raises BobError where every run diverged.
        """
        self.micro_batch = self.configs[0].micro_batch
        self._load(folder)
        epoch_images = len(self.loader) * self.loader.batch_size
        total = sum(config.epochs for config in self.configs) * epoch_images
        with self.context.progress.step(f"{self.backbone.name}: {len(self.configs)} training runs", total) as advance:
            advance(sum(config.epochs for config in self.configs[: len(self.records)]) * epoch_images)
            for number in range(len(self.records), len(self.configs)):
                self._train_run(number, folder, advance)
        if not self.weights:
            reasons = named(record["diverged"] for record in self.records)
            raise BobError(
                f"{self.backbone.name}: every training run failed: {reasons}; check the checkpoint and its input "
                "normalisation"
            )
        facts = {
            **self.best,
            "runs": self.records,
            "effective_batch": self.loader.batch_size,
            "train_images": self.loader.size,
            "validation_images": self.validation_images,
            "unreadable_images": len(self.loader.unreadable),
        }
        weights = {name: tensor.cpu().numpy() for name, tensor in self.weights.items()}
        return {**weights, "facts": pack_json(facts)}

    def _train_run(self, number: int, folder: Path, advance: Callable[[int], None]) -> None:
        """Train one run, add its record, and save the search where more runs follow."""
        config = replace(self.configs[number], micro_batch=self.micro_batch, max_steps=self.context.config.max_steps)
        checkpoint = folder / f"run-{number}.pt"
        record: dict[str, Any] = {"run": config.description}
        try:
            trainer = loop.train(
                lambda: self.make_trainer(config), self.validate, checkpoint, advance, self._is_clearly_beaten
            )
            # validation need not use all weights: that of detectors is by boxes, without masks
            if bad := places_of_nan(trainer.network.learned_state(), trainer.state.validation):
                raise Diverged(f"NaN is in {named(bad)} ({config.description})")
        except Diverged as error:
            log.warning("%s: %s; the other runs continue", self.backbone.name, error)
            record["diverged"] = str(error)
        else:
            state = trainer.state
            self.micro_batch = min(self.micro_batch, state.micro_batch)
            validation = {} if self.validate is None else {"validation": round(state.validation[0], 4)}
            record |= {**validation, "epochs": state.epoch, "steps": state.steps}
            if state.epoch < config.epochs and self.context.config.max_steps is None:
                record["stopped"] = "clearly beaten"
            elif not self.best or state.validation > tuple(self.best["judged"]):
                self._keep_best(trainer, config)
        self.records.append(record)
        if number + 1 < len(self.configs):
            self._save(folder)
            checkpoint.unlink(missing_ok=True)

    def _keep_best(self, trainer: Trainer, config: TrainingConfig) -> None:
        """Keep facts and weights of a run, the best one so far."""
        state = trainer.state
        learned_state = trainer.network.learned_state()
        self.weights = {name: tensor.detach().cpu().clone() for name, tensor in learned_state.items()}
        self.best = {
            "chosen": config.description,
            "judged": list(state.validation),
            "curve": state.curve,
            "micro_batch": min(state.micro_batch, self.loader.batch_size),
            "drop_path": trainer.network.drop_path,
        }

    def _is_clearly_beaten(self, state: TrainingState) -> bool:
        """Return whether a run is behind the best run at the same epoch by more than two standard errors of the gap."""
        if not self.stop_beaten or not self.best or not state.curve["epoch"] or state.curve["epoch"][-1] < 2:
            return False
        best_curve = dict(zip(self.best["curve"]["epoch"], self.best["curve"]["validation"], strict=True))
        best_score = best_curve.get(state.curve["epoch"][-1])
        score = state.curve["validation"][-1]
        if best_score is None:
            return False
        mean_share = (best_score + score) / 200
        error = 100 * (2 * mean_share * (1 - mean_share) / self.validation_images) ** 0.5
        return bool(score < best_score - 2 * error)

    def _save(self, folder: Path) -> None:
        content = {
            "points": self.records,
            "best": self.best,
            "weights": self.weights,
            "micro_batch": self.micro_batch,
            "unreadable": sorted(self.loader.unreadable),
        }
        loop.write_checkpoint(folder / "finished.pt", content)

    def _misplaced(self, weights: dict[str, torch.Tensor]) -> str:
        """Return which of the stored weights do not fit the network, "" where all do or there are none."""
        if not weights:
            return ""
        expected = self.make_trainer(self.configs[0]).network.learned_state()
        shapes, expected_shapes = ({name: tuple(w.shape) for name, w in each.items()} for each in (weights, expected))
        names = sorted(name for name, _ in shapes.items() ^ expected_shapes.items())
        return f"weights of another network: {named(dict.fromkeys(names))}" if names else ""

    def _load(self, folder: Path) -> None:
        path = folder / "finished.pt"
        content = loop.read_checkpoint(path, "cpu")
        if problem := content and (misfit(content, _FinishedRuns) or self._misplaced(content["weights"])):
            log.warning("%s is damaged (%s): the training starts again", path, problem)
            return
        # an older version kept networks that had diverged, and then the other runs were not trained to their end
        if content is not None and not places_of_nan(content["weights"], content["best"].get("judged", ())):
            self.records, self.best, self.weights = content["points"], content["best"], content["weights"]
            self.micro_batch = content["micro_batch"]
            self.loader.unreadable.update(content["unreadable"])
