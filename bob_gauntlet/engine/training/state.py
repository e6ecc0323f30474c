"""The state of a training run that a checkpoint stores."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from bob_gauntlet.scores.json_types import misfit

_NAMES_IN_CHECKPOINT = {"batches_done": "place", "validation": "judged"}
"""Fields of TrainingState that have another name in a checkpoint; these names stay, so old checkpoints are readable."""


@dataclass
class TrainingState:
    """The progress of a run, which a checkpoint stores with the network and the optimiser."""

    # finished epochs
    epoch: int = 0
    # optimiser steps of the whole run
    steps: int = 0
    # batches of the unfinished epoch that are done, and their losses
    batches_done: int = 0
    losses: list[float] = field(default_factory=list)
    micro_batch: int = 0
    curve: dict[str, list[float]] = field(default_factory=lambda: {"epoch": [], "validation": [], "loss": []})
    # validation score and tie-breaker of the weights that the run would return: the last, or those of the best epoch
    validation: tuple[float, float] = (-math.inf, -math.inf)
    # weights of the best epoch
    best: dict[str, torch.Tensor] | None = None

    def to_checkpoint(self) -> dict[str, Any]:
        """Return the fields under their names in a checkpoint."""
        return {_NAMES_IN_CHECKPOINT.get(name, name): value for name, value in vars(self).items()}

    @classmethod
    def from_checkpoint(cls, values: dict[str, Any]) -> "TrainingState":
        """Return the state that `to_checkpoint` was called on. Raises KeyError or ValueError for other values."""
        names = [each.name for each in fields(cls)]
        plain = {name: values[_NAMES_IN_CHECKPOINT.get(name, name)] for name in names}
        if problem := misfit(plain, cls):
            raise ValueError(problem)
        return cls(**plain)
