"""One training run: epochs of optimiser steps, a checkpoint after each, and a validation score on the way.

A run is a function of its plan, its seed and its stream: what is drawn in a step is seeded by the step's number, so
that a run that was killed goes on from its last checkpoint to the same weights as one that was not.
"""

import io
import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from timm.data.mixup import Mixup
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch.nn import functional

from bob_gauntlet.artifacts import write_atomically
from bob_gauntlet.engine.allocator import keep_pages
from bob_gauntlet.engine.network import Network
from bob_gauntlet.engine.seeding import seeded
from bob_gauntlet.engine.stream import Stream
from bob_gauntlet.errors import BobError

log = logging.getLogger(__name__)

Judge = Callable[[Network], tuple[float, float]]
"""Validation score in %, and what decides between equal ones (higher is better)."""

CURVE = 10
"""Epochs after which validation is scored, from the first; after these, the last epoch alone."""


@dataclass(frozen=True)
class Plan:
    """The hyper-parameters of one run."""

    lr: float
    weight_decay: float
    layer_decay: float | None
    epochs: int
    warmup_epochs: int
    warmup_lr: float
    min_lr: float
    optimiser: Literal["adamw", "sgd", "lars"] = "adamw"
    # the rate changes after every step instead of every epoch
    per_step: bool = False
    # images that go through the network at once; halved where memory runs out
    micro_batch: int = 128
    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.0
    # mixed precision on a GPU
    amp: bool = False
    max_steps: int | None = None
    # validate after every epoch and keep the best one, instead of the last
    best_epoch: bool = False

    @property
    def words(self) -> str:
        """What tells this run of a grid from the others."""
        layers = f", layer decay {self.layer_decay:g}" if self.layer_decay else ""
        return f"{self.optimiser} lr {self.lr:g}, weight decay {self.weight_decay:g}{layers}"


class Diverged(BobError):
    """The loss became NaN or infinite."""


@dataclass
class State:
    """Where a run stands; what a checkpoint holds beside network and optimiser."""

    # epochs that are done
    epoch: int = 0
    # optimiser steps that are done
    steps: int = 0
    micro_batch: int = 0
    curve: dict[str, list[float]] = field(default_factory=lambda: {"epoch": [], "validation": [], "loss": []})
    # of the weights that count: the last ones, or those of the best epoch
    judged: tuple[float, float] = (-math.inf, -math.inf)
    best: dict[str, torch.Tensor] | None = None


class Trainer:
    """Trains a network on a stream, step by step."""

    def __init__(
        self, network: Network, plan: Plan, stream: Stream, classes: int, seed: int, device: str, *, multi_label: bool
    ) -> None:
        self.network, self.plan, self.stream, self.seed, self.device = network, plan, stream, seed, device
        self.multi_label = multi_label
        self.state = State(micro_batch=plan.micro_batch)
        self.optimiser = create_optimizer_v2(
            network.parameter_groups(plan.weight_decay, plan.layer_decay),
            opt=plan.optimiser,
            lr=plan.lr,
            weight_decay=plan.weight_decay,
        )
        unit = len(stream) if plan.per_step else 1
        self.schedule = CosineLRScheduler(
            self.optimiser,
            t_initial=plan.epochs * unit,
            lr_min=plan.min_lr,
            warmup_t=min(plan.warmup_epochs, plan.epochs - 1) * unit,
            warmup_lr_init=plan.warmup_lr,
            t_in_epochs=not plan.per_step,
        )
        mixes = plan.mixup > 0 or plan.cutmix > 0
        self.mixup: Any = (
            Mixup(  # type: ignore[no-untyped-call]
                plan.mixup,
                plan.cutmix,
                label_smoothing=plan.smoothing,
                num_classes=classes,
                multi_label=multi_label,
            )
            if mixes
            else None
        )
        self.half = half_precision(device) if plan.amp else None
        self.scaler = torch.amp.GradScaler(torch.device(device).type, enabled=self.half is torch.float16)

    @property
    def over(self) -> bool:
        """Whether the last epoch, or the last step that is allowed, is done."""
        limit = self.plan.max_steps
        return self.state.epoch >= self.plan.epochs or (limit is not None and self.state.steps >= limit)

    def epoch(self, advance: Callable[[int], None]) -> float:
        """One epoch; returns its mean loss. Diverged where a loss is not finite."""
        self.network.train()
        losses: list[torch.Tensor] = []
        number = self.state.epoch
        if not self.plan.per_step:
            self.schedule.step(number)
        for place, (images, targets) in enumerate(self.stream.epoch(number)):
            if self.plan.per_step:
                self.schedule.step_update(number * len(self.stream) + place)
            step = int(np.random.SeedSequence([self.seed, number, place]).generate_state(1)[0])
            torch.manual_seed(step)
            np.random.seed(step)
            with self.network.differentiable() if not self.state.steps else nullcontext():
                losses.append(self._step(images.to(self.device, non_blocking=True), targets.to(self.device)))
            self.state.steps += 1
            # a GPU would have to be waited for after every step
            if self.device == "cpu" or len(losses) % 20 == 0:
                self._check(losses)
            advance(len(images))
            if self.plan.max_steps is not None and self.state.steps >= self.plan.max_steps:
                break
        self._check(losses)
        self.state.epoch += 1
        return float(torch.stack(losses).mean())

    def _step(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """One step of the whole batch, in parts where it does not fit; returns its loss, on the device."""
        if self.mixup is not None:
            images, targets = self.mixup(images, targets)
        total = torch.zeros((), device=images.device)
        for start in range(0, len(images), self.state.micro_batch):
            part = slice(start, start + self.state.micro_batch)
            with torch.autocast(images.device.type, self.half, enabled=self.half is not None):
                logits = self.network(images[part])
            loss = self._loss(logits.float(), targets[part]) / len(images)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if not self.state.steps:
            self.network.check_gradients()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()
        return total

    def _loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Summed over the images."""
        if self.multi_label:
            each = functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
            return each.mean(dim=1).sum()
        smoothing = 0.0 if self.mixup is not None else self.plan.smoothing
        return functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)

    def _check(self, losses: list[torch.Tensor]) -> None:
        finite = torch.isfinite(torch.stack(losses))
        if not finite.all():
            step = self.state.steps - len(losses) + int(finite.logical_not().nonzero()[0, 0]) + 1
            raise Diverged(f"the loss is not finite at step {step} ({self.plan.words})")

    def save(self, path: Path) -> None:
        """Network, optimiser and state in one file, which is whole or not there."""
        whole = {
            "network": self.network.learned(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "state": vars(self.state),
            "unreadable": sorted(self.stream.unreadable),
        }
        write(path, whole)

    def load(self, path: Path) -> bool:
        """Go on from a checkpoint; False where there is none that can be read."""
        whole = read(path, self.device)
        if whole is None:
            return False
        self.network.load_learned(whole["network"])
        self.optimiser.load_state_dict(whole["optimiser"])
        self.scaler.load_state_dict(whole["scaler"])
        self.stream.unreadable.update(whole["unreadable"])
        self.state = State(**{**whole["state"], "judged": tuple(whole["state"]["judged"])})
        return True


def train(
    make: Callable[[], Trainer],
    judge: Judge,
    path: Path,
    advance: Callable[[int], None] = lambda count: None,
    beaten: Callable[[State], bool] = lambda state: False,
) -> Trainer:
    """Train to the end, from the checkpoint at `path` where there is one; the network then holds what counts.

    Where memory runs out the epoch starts again with half the images at once and twice the steps of accumulation.
    `beaten` is asked before every epoch, and True ends the run. The checkpoint stays, for the caller to delete.
    """
    keep_pages()
    trainer = make()
    if trainer.load(path):
        advance(trainer.state.steps * trainer.stream.batch)
    with seeded(trainer.seed):
        while not (trainer.over or beaten(trainer.state)):
            if smaller := _one_epoch(trainer, judge, path, advance):
                # first let go of what fills the memory
                del trainer
                torch.cuda.empty_cache()
                trainer = make()
                trainer.load(path)
                trainer.state.micro_batch = smaller
    if trainer.state.best is not None:
        trainer.network.load_learned(trainer.state.best)
    trainer.network.eval()
    return trainer


def _one_epoch(trainer: Trainer, judge: Judge, path: Path, advance: Callable[[int], None]) -> int:
    """An epoch, its validation and its checkpoint; 0, or the images at once to begin it again with."""
    try:
        loss = trainer.epoch(advance)
    except torch.OutOfMemoryError:
        size = min(trainer.state.micro_batch, trainer.stream.batch) // 2
        if not size:
            raise
        log.warning("out of memory: %s images at once from here on, in as many more parts", size)
        return size
    state, plan = trainer.state, trainer.plan
    if plan.best_epoch or state.epoch <= CURVE or trainer.over:
        trainer.network.eval()
        score, tie = judge(trainer.network)
        for name, value in (("epoch", state.epoch), ("validation", round(score, 4)), ("loss", round(loss, 5))):
            state.curve[name].append(value)
        if not plan.best_epoch:
            state.judged = score, tie
        elif (score, tie) > state.judged:
            state.judged = score, tie
            state.best = {name: tensor.clone() for name, tensor in trainer.network.learned().items()}
    trainer.save(path)
    return 0


def write(path: Path, whole: dict[str, Any]) -> None:
    """Tensors and plain values in one file, whole or not there; a disk that refuses costs the file, not the run."""
    buffer = io.BytesIO()
    torch.save(whole, buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        log.warning("%s is not written (%s): an interruption would cost the run", path, error)


def read(path: Path, device: str) -> dict[str, Any] | None:
    """What `write` wrote, None where there is nothing or it is damaged; nothing in it is executed."""
    if not path.is_file():
        return None
    try:
        whole: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # whatever a damaged file is taken for
        log.warning("%s is damaged (%s): begun anew", path, type(error).__name__)
        return None
    return whole


def half_precision(device: str) -> torch.dtype | None:
    """bfloat16 on a GPU that has it, float16 on another, None on a CPU."""
    if torch.device(device).type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
