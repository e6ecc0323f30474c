"""A grid of training runs: the one that validation images prefer, kept as an artefact, and used as a classifier.

What is done is on disk after every epoch: the same call, after whatever killed the last one, goes on from there.
"""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bob_gauntlet.artifacts import Arrays, digest
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.engine import training
from bob_gauntlet.engine.examples import Examples
from bob_gauntlet.engine.features import batches, check_readable, counted, note_unreadable
from bob_gauntlet.engine.network import Network
from bob_gauntlet.engine.probe import judge
from bob_gauntlet.engine.stream import Augmentation, Stream
from bob_gauntlet.engine.training import Diverged, Plan, State, Trainer, half_precision
from bob_gauntlet.engine.transforms import normalise, normaliser
from bob_gauntlet.errors import BobError
from bob_gauntlet.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Grid:
    """What is trained, and how: everything that the chosen network depends on beside backbone, examples and seed."""

    plans: tuple[Plan, ...]
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
class Tuned:
    """The chosen network of one seed (`protocols.heads.Classifier`)."""

    backbone: Backbone
    grid: Grid
    examples: Examples
    seed: int
    # of the artefact that holds the weights
    key: dict[str, Any]
    arrays: Arrays
    _network: Network | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """How the run was chosen and what became of the others: plain types."""
        found: dict[str, Any] = json.loads(self.arrays["facts"].tobytes())
        return found

    def network(self) -> Network:
        """The trained network, in evaluation mode; built at the first call."""
        if self._network is None:
            network = _network(self.backbone, self.grid)
            weights = {name: torch.from_numpy(np.array(a)) for name, a in self.arrays.items() if name != "facts"}
            network.load_learned(weights)
            self._network = network.eval()
        return self._network

    def scores(self, split: Split, run: Run) -> np.ndarray:
        """(N, C) logits, kept by network and split; BobError where they are not finite."""
        key = {"network": digest(self.key), "split": split.fingerprint}

        def compute() -> Arrays:
            network = self.network()
            before = network.images_forwarded
            found, unreadable = logits_of(network, split, self.grid, run)
            self.backbone.images_forwarded += network.images_forwarded - before
            return counted({"logits": found}, unreadable)

        kept = run.artifacts.get("logits", key, compute)
        note_unreadable(kept, split, run)
        found = kept["logits"]
        if not np.isfinite(found).all():
            raise BobError(f"{self.backbone.name}: after training, its logits of {split.role} are NaN or infinite")
        return found

    def held_out(self, run: Run) -> tuple[np.ndarray, np.ndarray] | None:
        """Logits and targets of the images that chose the run; None where they are the reported ones."""
        if self.examples.reported:
            return None
        return self.scores(self.examples.choose, run), self.examples.choose.targets

    def differentiable(self) -> tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
        """The network, and normalisation and network in one."""
        network, normalised = self.network(), normaliser(self.grid.transform, self.backbone.device)
        return network, lambda images: network(normalised(images)).float()


def tune(backbone: Backbone, examples: Examples, grid: Grid, seed: int, run: Run, recipe: dict[str, Any]) -> Tuned:
    """The network that a grid gives, from the artefacts where it was trained before."""
    key = {
        "recipe": recipe,
        "backbone": backbone.ticket.fingerprint,
        "transform": grid.transform.canonical,
        "examples": examples.key,
        "seed": seed,
        "numerics": numerics(run.device, amp=grid.plans[0].amp),
        "max_steps": run.max_steps,
    }

    def search() -> Arrays:
        folder = run.artifacts.root / "checkpoints" / digest(key)
        found = _Search(backbone, examples, grid, seed, run, folder).result()
        return {**found.weights, "facts": np.frombuffer(json.dumps(found.facts).encode(), np.uint8)}

    arrays = run.artifacts.get("networks", key, search)
    # only now: until the artefact is on disk, the checkpoints are all there is
    shutil.rmtree(run.artifacts.root / "checkpoints" / digest(key), ignore_errors=True)
    return Tuned(backbone, grid, examples, seed, key, arrays)


def numerics(device: str, *, amp: bool) -> str:
    """`cpu float32`, `cuda bfloat16`: what a trained network's arithmetic was."""
    half = half_precision(device) if amp else None
    return f"{torch.device(device).type} {str(half or torch.float32).removeprefix('torch.')}"


def logits_of(network: Network, split: Split, grid: Grid, run: Run) -> tuple[np.ndarray, list[str]]:
    """(N, C) float32 logits of a network in evaluation mode, and why some images could not be read."""
    half = half_precision(run.device) if grid.plans[0].amp else None
    parts: list[np.ndarray] = []
    unreadable: list[str] = []
    on_cpu = run.device == "cpu"
    for images, broken in batches(split, grid.transform, run.batch_size, on_cpu=on_cpu, threads=run.readers):
        unreadable += broken
        if not on_cpu:
            images = normalise(images.to(run.device, non_blocking=True), grid.transform)
        with torch.no_grad(), torch.autocast(torch.device(run.device).type, half, enabled=half is not None):
            parts.append(network(images).float().cpu().numpy())
    check_readable(unreadable, split)
    return np.concatenate(parts), unreadable


def _network(backbone: Backbone, grid: Grid) -> Network:
    return Network(backbone, grid.classes, grid.transform, frozen=grid.frozen, drop_path=grid.drop_path)


@dataclass(frozen=True)
class _Result:
    weights: dict[str, np.ndarray]
    facts: dict[str, Any]


class _Search:
    """The runs of one grid, in order, each from where it was left."""

    def __init__(self, backbone: Backbone, examples: Examples, grid: Grid, seed: int, run: Run, folder: Path) -> None:
        self.backbone, self.examples, self.grid = backbone, examples, grid
        self.seed, self.run, self.folder = seed, run, folder
        self.stream = Stream(
            examples.fit, grid.transform, grid.augmentation,
            batch=grid.batch, seed=seed, workers=run.loaders, pin=run.device != "cpu",
        )  # fmt: skip
        # what is finished: a record a run, and the weights and the curve of the best
        self.points: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}
        self.weights: dict[str, torch.Tensor] = {}
        self.micro_batch = grid.plans[0].micro_batch

    def result(self) -> _Result:
        """Every run that is not done yet, then the best of all. BobError where the loss of all was not finite."""
        self._load()
        images = len(self.stream) * self.stream.batch
        total = sum(plan.epochs for plan in self.grid.plans) * images
        with self.run.progress.step(f"{self.backbone.name}: {len(self.grid.plans)} training runs", total) as advance:
            advance(sum(plan.epochs for plan in self.grid.plans[: len(self.points)]) * images)
            for number in range(len(self.points), len(self.grid.plans)):
                self._one(number, advance)
        if not self.weights:
            reasons = "; ".join(point["diverged"] for point in self.points)
            raise BobError(f"{self.backbone.name}: no training run ended: {reasons}")
        facts = {
            **self.best,
            "runs": self.points,
            "effective_batch": self.stream.batch,
            "train_images": self.stream.size,
            "validation_images": len(self.examples.choose),
            "unreadable_images": len(self.stream.unreadable),
        }
        return _Result({name: tensor.cpu().numpy() for name, tensor in self.weights.items()}, facts)

    def _one(self, number: int, advance: Callable[[int], None]) -> None:
        """Train one run and take note of it."""
        plan = replace(self.grid.plans[number], micro_batch=self.micro_batch, max_steps=self.run.max_steps)
        path = self.folder / f"run-{number}.pt"
        record: dict[str, Any] = {"run": plan.words}
        try:
            trainer = training.train(lambda: self._trainer(plan), self._judge, path, advance, self._beaten)
        except Diverged as error:
            log.warning("%s: %s; the other runs go on", self.backbone.name, error)
            record["diverged"] = str(error)
        else:
            state = trainer.state
            self.micro_batch = min(self.micro_batch, state.micro_batch)
            record |= {"validation": round(state.judged[0], 4), "epochs": state.epoch, "steps": state.steps}
            if state.epoch < plan.epochs and self.run.max_steps is None:
                record["stopped"] = "clearly beaten"
            elif not self.best or state.judged > tuple(self.best["judged"]):
                self._keep(trainer, plan)
            self.backbone.images_forwarded += trainer.network.images_forwarded
        self.points.append(record)
        self._save()
        path.unlink(missing_ok=True)

    def _keep(self, trainer: Trainer, plan: Plan) -> None:
        """The best run so far."""
        state = trainer.state
        self.weights = {name: tensor.detach().cpu().clone() for name, tensor in trainer.network.learned().items()}
        self.best = {
            "chosen": plan.words,
            "judged": list(state.judged),
            "curve": state.curve,
            "micro_batch": min(state.micro_batch, self.stream.batch),
            "drop_path": trainer.network.drop_path,
        }

    def _trainer(self, plan: Plan) -> Trainer:
        network = _network(self.backbone, self.grid)
        network.initialise(self.seed)
        multi_label = self.examples.fit.targets.ndim == 2
        return Trainer(
            network, plan, self.stream, self.grid.classes, self.seed, self.run.device, multi_label=multi_label
        )

    def _judge(self, network: Network) -> tuple[float, float]:
        """Validation score, and the negative loss to decide between equal ones."""
        logits, _ = logits_of(network, self.examples.choose, self.grid, self.run)
        return judge(logits, self.examples.choose.targets)

    def _beaten(self, state: State) -> bool:
        """Whether the run is behind the best one, at the same epoch, by more than two standard errors of the gap."""
        if not self.grid.stop_beaten or not self.best or not state.curve["epoch"] or state.curve["epoch"][-1] < 2:
            return False
        theirs = dict(zip(self.best["curve"]["epoch"], self.best["curve"]["validation"], strict=True))
        best = theirs.get(state.curve["epoch"][-1])
        own = state.curve["validation"][-1]
        if best is None:
            return False
        share = (best + own) / 200
        error = 100 * (2 * share * (1 - share) / len(self.examples.choose)) ** 0.5
        return bool(own < best - 2 * error)

    def _save(self) -> None:
        whole = {
            "points": self.points,
            "best": self.best,
            "weights": self.weights,
            "micro_batch": self.micro_batch,
            "unreadable": sorted(self.stream.unreadable),
        }
        training.write(self.folder / "finished.pt", whole)

    def _load(self) -> None:
        whole = training.read(self.folder / "finished.pt", "cpu")
        if whole is not None:
            self.points, self.best, self.weights = whole["points"], whole["best"], whole["weights"]
            self.micro_batch = whole["micro_batch"]
            self.stream.unreadable.update(whole["unreadable"])
