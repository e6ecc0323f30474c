"""One training run: epochs of optimiser steps, a checkpoint after each, and a validation score on the way.

A run is a function of its plan, its seed and its stream: what is drawn in a step is seeded by the step's number, so
that a run that was killed goes on from its last checkpoint to the same weights as one that was not.
"""

import io
import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from torch import nn

from bob_gauntlet.engine.allocator import keep_pages
from bob_gauntlet.engine.seeding import seeded
from bob_gauntlet.engine.training.config import TrainingConfig, create_schedule
from bob_gauntlet.engine.training.data_loader import AugmentedLoader
from bob_gauntlet.engine.training.loss import Loss
from bob_gauntlet.engine.training.trainable import Trainable
from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.artifacts import write_atomically

log = logging.getLogger(__name__)

Validate = Callable[[Any], tuple[float, float]]
"""Validation score in %, and what decides between equal ones (higher is better)."""

SAVE_INTERVAL = 600.0
"""Seconds after which a run is saved in the middle of an epoch."""


_NAMES_IN_CHECKPOINT = {"batches_done": "place", "validation": "judged"}
"""Fields of TrainingState that a checkpoint holds under an older name; so old checkpoints stay readable."""


class Diverged(BobError):
    """The loss became NaN or infinite."""


@dataclass
class TrainingState:
    """Where a run stands; what a checkpoint holds beside network and optimiser."""

    # epochs that are done
    epoch: int = 0
    # optimiser steps that are done: in all, and of the epoch that is not done, with their losses
    steps: int = 0
    batches_done: int = 0
    losses: list[float] = field(default_factory=list)
    micro_batch: int = 0
    curve: dict[str, list[float]] = field(default_factory=lambda: {"epoch": [], "validation": [], "loss": []})
    # of the weights that count: the last ones, or those of the best epoch
    validation: tuple[float, float] = (-math.inf, -math.inf)
    best: dict[str, torch.Tensor] | None = None

    def to_checkpoint(self) -> dict[str, Any]:
        """Return the fields under their names in a checkpoint."""
        return {_NAMES_IN_CHECKPOINT.get(name, name): value for name, value in vars(self).items()}

    @classmethod
    def from_checkpoint(cls, values: dict[str, Any]) -> "TrainingState":
        """Return the state that `to_checkpoint` was called on."""
        names = [each.name for each in fields(cls)]
        state = cls(**{name: values[_NAMES_IN_CHECKPOINT.get(name, name)] for name in names})
        score, tie_breaker = state.validation
        state.validation = score, tie_breaker
        return state


class Trainer:
    """Trains a network on a stream, step by step."""

    def __init__(
        self,
        network: Trainable,
        config: TrainingConfig,
        loader: AugmentedLoader,
        loss_function: Loss,
        seed: int,
        device: str,
    ) -> None:
        self.network, self.config, self.loader, self.seed, self.device = network, config, loader, seed, device
        self.loss_function = loss_function
        self.state = TrainingState(micro_batch=config.micro_batch)
        self.optimiser = create_optimizer_v2(
            network.parameter_groups(config.weight_decay, config.layer_decay),
            opt=config.optimiser,
            lr=config.lr,
            weight_decay=config.weight_decay,
        )
        self.schedule = create_schedule(config, self.optimiser, len(loader))
        self.half_dtype = half_precision(device) if config.amp else None
        self.scaler = torch.amp.GradScaler(torch.device(device).type, enabled=self.half_dtype is torch.float16)

    @property
    def finished(self) -> bool:
        """Whether the last epoch, or the last step that is allowed, is done."""
        limit = self.config.max_steps
        return self.state.epoch >= self.config.epochs or (limit is not None and self.state.steps >= limit)

    def train_epoch(self, advance: Callable[[int], None], pause: Callable[[], None] = lambda: None) -> float:
        """The rest of an epoch; returns the mean loss of all of it. Diverged where a loss is not finite.

        After every step `advance` is told of its examples, and `pause` may save the run.
        """
        self.network.train()
        state, number = self.state, self.state.epoch
        if not self.config.per_step:
            self.schedule.step(number)
        fresh: list[torch.Tensor] = []
        for batch in self.loader.epoch(number, state.batches_done):
            if self.config.per_step:
                self.schedule.step_update(number * len(self.loader) + state.batches_done)
            step = int(np.random.SeedSequence([self.seed, number, state.batches_done]).generate_state(1)[0])
            torch.manual_seed(step)
            np.random.seed(step)
            with self.network.explain_gradient_errors() if not state.steps else nullcontext():
                fresh.append(self._step(batch))
            state.steps, state.batches_done = state.steps + 1, state.batches_done + 1
            # a GPU would have to be waited for after every step
            if self.device == "cpu" or len(fresh) == 20:
                self._take(fresh)
                pause()
            advance(self.loss_function.size(batch))
            if self.config.max_steps is not None and state.steps >= self.config.max_steps:
                break
        self._take(fresh)
        loss = float(torch.tensor(state.losses).mean())
        state.epoch, state.batches_done, state.losses = number + 1, 0, []
        return loss

    def _step(self, batch: Any) -> torch.Tensor:
        """One step of the whole batch, in parts where it does not fit; returns its loss, on the device."""
        batch = self.loss_function.to_device(batch, self.device)
        size = self.loss_function.size(batch)
        total = torch.zeros((), device=self.device)
        for start in range(0, size, self.state.micro_batch):
            part = slice(start, min(start + self.state.micro_batch, size))
            with torch.autocast(torch.device(self.device).type, self.half_dtype, enabled=self.half_dtype is not None):
                loss = self.loss_function.loss(self.network, batch, part) / size
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if not self.state.steps:
            self.network.check_gradients()
        if self.config.clip is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()
        return total

    def _take(self, fresh: list[torch.Tensor]) -> None:
        """The losses of the last steps into the state. Diverged where one is not finite."""
        values = torch.stack(fresh).tolist() if fresh else []
        for place, value in enumerate(values):
            if not math.isfinite(value):
                step = self.state.steps - len(values) + place + 1
                raise Diverged(f"the loss is not finite at step {step} ({self.config.description})")
        self.state.losses += values
        fresh.clear()

    def save(self, path: Path) -> None:
        """Network, optimiser and state in one file, which is whole or not there."""
        whole = {
            "network": self.network.learned_state(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "state": self.state.to_checkpoint(),
            "unreadable": sorted(self.loader.unreadable),
        }
        write_checkpoint(path, whole)

    def load(self, path: Path) -> bool:
        """Go on from a checkpoint; False where there is none that can be read."""
        whole = read_checkpoint(path, self.device)
        if whole is None:
            return False
        self.network.load_learned_state(whole["network"])
        self.optimiser.load_state_dict(whole["optimiser"])
        self.scaler.load_state_dict(whole["scaler"])
        self.loader.unreadable.update(whole["unreadable"])
        self.state = TrainingState.from_checkpoint(whole["state"])
        return True


def train(
    make: Callable[[], Trainer],
    validate: Validate,
    path: Path,
    advance: Callable[[int], None] = lambda count: None,
    beaten: Callable[[TrainingState], bool] = lambda state: False,
) -> Trainer:
    """Train to the end, from the checkpoint at `path` where there is one; the network then holds what counts.

    Where memory runs out the epoch starts again with half the images at once and twice the steps of accumulation.
    `beaten` is asked before every epoch, and True ends the run. The checkpoint stays, for the caller to delete.
    """
    keep_pages()
    trainer = make()
    if trainer.load(path):
        advance(trainer.state.steps * trainer.loader.batch_size)
    with seeded(trainer.seed):
        while not (trainer.finished or beaten(trainer.state)):
            if smaller := _one_epoch(trainer, validate, path, advance):
                # first let go of what fills the memory
                del trainer
                torch.cuda.empty_cache()
                trainer = make()
                trainer.load(path)
                trainer.state.micro_batch = smaller
    if trainer.state.best is not None:
        trainer.network.load_learned_state(trainer.state.best)
    trainer.network.eval()
    return trainer


def _one_epoch(trainer: Trainer, validate: Validate, path: Path, advance: Callable[[int], None]) -> int:
    """An epoch, its validation and its checkpoint; 0, or the images at once to begin it again with."""
    saved = time.monotonic()

    def pause() -> None:
        nonlocal saved
        if time.monotonic() - saved >= SAVE_INTERVAL:
            trainer.save(path)
            saved = time.monotonic()

    try:
        loss = trainer.train_epoch(advance, pause)
    except torch.OutOfMemoryError:
        size = min(trainer.state.micro_batch, trainer.loader.batch_size) // 2
        if not size:
            raise
        log.warning("out of memory: %s images at once from here on, in as many more parts", size)
        return size
    state, config = trainer.state, trainer.config
    if config.best_epoch or state.epoch <= config.curve or trainer.finished:
        trainer.network.eval()
        score, tie = validate(trainer.network)
        for name, value in (("epoch", state.epoch), ("validation", round(score, 4)), ("loss", round(loss, 5))):
            state.curve[name].append(value)
        if not config.best_epoch:
            state.validation = score, tie
        elif (score, tie) > state.validation:
            state.validation = score, tie
            state.best = {name: tensor.clone() for name, tensor in trainer.network.learned_state().items()}
    trainer.save(path)
    return 0


def write_checkpoint(path: Path, whole: dict[str, Any]) -> None:
    """Tensors and plain values in one file, whole or not there; a disk that refuses costs the file, not the run."""
    buffer = io.BytesIO()
    torch.save(whole, buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        log.warning("%s is not written (%s): an interruption would cost the run", path, error)


def read_checkpoint(path: Path, device: str) -> dict[str, Any] | None:
    """What `write_checkpoint` wrote, None where there is nothing or it is damaged; nothing in it is executed."""
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
