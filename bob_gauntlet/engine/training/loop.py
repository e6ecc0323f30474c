"""The training loop of one run: epochs of optimiser steps, validation, and a checkpoint once a minute.

A run is a function of its configuration, its seed and its data loader. Each step seeds its random numbers by seed,
epoch and position in the epoch, so a run that was killed continues from its last checkpoint to the same weights as a
run that was not.
"""

import io
import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
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
from bob_gauntlet.engine.training.state import TrainingState
from bob_gauntlet.engine.training.trainable import Trainable
from bob_gauntlet.errors import BobError, NotFiniteError
from bob_gauntlet.runtime.artifacts import write_atomically

log = logging.getLogger(__name__)

Validate = Callable[[Any], tuple[float, float]]
"""From a network to its validation score in %, and a value that decides between equal scores; higher is better.

It raises NotFiniteError where the network gives NaN or infinity for an image."""

SAVE_INTERVAL = 60.0
"""Seconds between two checkpoints of a run: the most that a kill loses. A shorter run writes none."""


class Diverged(BobError):
    """The training loss, or what the network gives for validation images, became NaN or infinite."""


class Trainer:
    """Trains a network on the batches of a data loader."""

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
        self.state, self.last_saved = TrainingState(micro_batch=config.micro_batch), time.monotonic()
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
        """Whether the last epoch, or step number `config.max_steps`, is done."""
        limit = self.config.max_steps
        return self.state.epoch >= self.config.epochs or (limit is not None and self.state.steps >= limit)

    def train_epoch(self, advance: Callable[[int], None], save: Callable[[], None] = lambda: None) -> float:
        """Train the rest of the current epoch and return the mean loss of the whole epoch.

        After each step `advance` is called with the number of its examples, and `save` so that it can save the run.
        Raises Diverged where a loss is not finite.
        """
        self.network.train()
        state, number = self.state, self.state.epoch
        if not self.config.per_step:
            self.schedule.step(number)
        recent_losses: list[torch.Tensor] = []
        for batch in self.loader.epoch(number, state.batches_done):
            if self.config.per_step:
                self.schedule.step_update(number * len(self.loader) + state.batches_done)
            step_seed = int(np.random.SeedSequence([self.seed, number, state.batches_done]).generate_state(1)[0])
            # torch.manual_seed seeds every device; on a CPU that takes longer than a step of a tiny network
            (torch.default_generator.manual_seed if self.device == "cpu" else torch.manual_seed)(step_seed)
            np.random.seed(step_seed)
            with self.network.explain_gradient_errors() if not state.steps else nullcontext():
                recent_losses.append(self._step(batch))
            state.steps, state.batches_done = state.steps + 1, state.batches_done + 1
            # on a GPU only after every 20 steps, since reading a loss waits until the GPU has computed it
            if self.device == "cpu" or len(recent_losses) == 20:
                self._record_losses(recent_losses)
                save()
            advance(self.loss_function.size(batch))
            if self.config.max_steps is not None and state.steps >= self.config.max_steps:
                break
        self._record_losses(recent_losses)
        loss = float(torch.tensor(state.losses).mean())
        state.epoch, state.batches_done, state.losses = number + 1, 0, []
        return loss

    def _step(self, batch: Any) -> torch.Tensor:
        """Make one optimiser step on a batch and return its loss, a tensor on the device.

        The batch goes through the network in parts of at most `state.micro_batch` examples.
        """
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

    def _record_losses(self, recent_losses: list[torch.Tensor]) -> None:
        """Move the losses of the last steps to the state. Raises Diverged where one is not finite."""
        values = torch.stack(recent_losses).tolist() if recent_losses else []
        for index, value in enumerate(values):
            if not math.isfinite(value):
                step = self.state.steps - len(values) + index + 1
                raise Diverged(f"the loss is not finite at step {step} ({self.config.description})")
        self.state.losses += values
        recent_losses.clear()

    def save_if_due(self, path: Path) -> None:
        """Save a checkpoint where the last one is older than `SAVE_INTERVAL` seconds."""
        if time.monotonic() - self.last_saved >= SAVE_INTERVAL:
            self.save(path)
            self.last_saved = time.monotonic()

    def save(self, path: Path) -> None:
        """Save network, optimiser and state as a checkpoint; the file is either complete or absent."""
        content = {
            "network": self.network.learned_state(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "state": self.state.to_checkpoint(),
            "unreadable": sorted(self.loader.unreadable),
        }
        write_checkpoint(path, content)

    def load(self, path: Path) -> bool:
        """Load a checkpoint to continue from; return False where there is no readable one."""
        content = read_checkpoint(path, self.device)
        if content is None:
            return False
        state = TrainingState.from_checkpoint(content["state"])
        self.network.load_learned_state(content["network"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.scaler.load_state_dict(content["scaler"])
        self.loader.unreadable.update(content["unreadable"])
        self.state = state
        return True


def train(
    make_trainer: Callable[[], Trainer],
    validate: Validate | None,
    checkpoint: Path,
    advance: Callable[[int], None] = lambda count: None,
    is_beaten: Callable[[TrainingState], bool] = lambda state: False,
) -> Trainer:
    """Train a run to its end and return its trainer, whose network then has the last or the best epoch's weights.

    Without `validate` nothing is validated. The run continues from `checkpoint` where that file exists, and writes it
    after every `SAVE_INTERVAL` seconds; the caller deletes it. When memory runs out, the run continues from its last
    checkpoint, or starts again where there is none, with half as many images in a forward pass and twice as many
    passes in a step. `is_beaten` is called before each epoch and ends the run by returning True.
    """
    keep_pages()
    trainer = _resume(make_trainer, checkpoint)
    if trainer.state.steps:
        advance(trainer.state.steps * trainer.loader.batch_size)
    with seeded(trainer.seed):
        while not (trainer.finished or is_beaten(trainer.state)):
            if smaller_micro_batch := _train_and_validate_epoch(trainer, validate, checkpoint, advance):
                # free the memory before another trainer is made
                del trainer
                torch.cuda.empty_cache()
                trainer = _resume(make_trainer, checkpoint)
                trainer.state.micro_batch = smaller_micro_batch
    if trainer.state.best is not None:
        trainer.network.load_learned_state(trainer.state.best)
    trainer.network.eval()
    return trainer


def _resume(make_trainer: Callable[[], Trainer], checkpoint: Path) -> Trainer:
    """Return a trainer that continues from a checkpoint, or from the start where that is absent or does not fit."""
    trainer = make_trainer()
    try:
        trainer.load(checkpoint)
    except torch.OutOfMemoryError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        log.warning("%s is damaged (%s): the training starts again", checkpoint, str(error).partition("\n")[0])
        # the first trainer's network may hold a part of what was read
        return make_trainer()
    return trainer


def _train_and_validate_epoch(
    trainer: Trainer, validate: Validate | None, checkpoint: Path, advance: Callable[[int], None]
) -> int:
    """Train an epoch, validate, and save a checkpoint where one is due; return 0.

    Raises Diverged where a number is not finite. When memory runs out, return the smaller micro-batch with which the
    run has to continue from its last checkpoint.
    """
    try:
        loss = trainer.train_epoch(advance, lambda: trainer.save_if_due(checkpoint))
    except torch.OutOfMemoryError:
        micro_batch = min(trainer.state.micro_batch, trainer.loader.batch_size) // 2
        if not micro_batch:
            raise
        log.warning("out of memory: from now on at most %s images go through the network at once", micro_batch)
        return micro_batch
    state, config = trainer.state, trainer.config
    if validate is not None and (config.best_epoch or state.epoch <= config.curve or trainer.finished):
        score, tie_breaker = _finite_validation(trainer, validate)
        for name, value in (("epoch", state.epoch), ("validation", round(score, 4)), ("loss", round(loss, 5))):
            state.curve[name].append(value)
        if not config.best_epoch:
            state.validation = score, tie_breaker
        elif (score, tie_breaker) > state.validation:
            state.validation = score, tie_breaker
            state.best = {name: tensor.clone() for name, tensor in trainer.network.learned_state().items()}
    trainer.save_if_due(checkpoint)
    return 0


def _finite_validation(trainer: Trainer, validate: Validate) -> tuple[float, float]:
    """Return what `validate` gives for the network. Raises Diverged where that, or the network's output, is not finite.

    The tie-breaker may be -infinity, since the loss of finite logits can be too large for its precision.
    """
    trainer.network.eval()
    where = f"after epoch {trainer.state.epoch} ({trainer.config.description})"
    try:
        score, tie_breaker = validate(trainer.network)
    except NotFiniteError as error:
        raise Diverged(f"the output for validation images is not finite {where}") from error
    if not math.isfinite(score) or math.isnan(tie_breaker):
        raise Diverged(f"the validation score is not finite {where}")
    return score, tie_breaker


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values to one file, which is either complete or absent.

    Where the disk refuses, only a warning is logged: the run continues without the file.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        log.warning("cannot write %s (%s): an interrupted run would have to start again; free disk space", path, error)


def read_checkpoint(path: Path, device: str) -> dict[str, Any] | None:
    """Return what `write_checkpoint` wrote, or None where the file is absent or damaged. No code in it is executed."""
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file can raise any exception
        log.warning("%s is damaged (%s): the training starts again", path, type(error).__name__)
        return None
    return content


def half_precision(device: str) -> torch.dtype | None:
    """Return bfloat16 on a GPU that supports it, float16 on another GPU, None on a CPU."""
    if torch.device(device).type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
