"""The training loop of all objectives: seeded, single-threaded, and reproducible to the bit."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.pretraining.objectives import OBJECTIVES, Objective
from benchmarks.pretraining.pool import ImagePool
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import UserConfig

if TYPE_CHECKING:
    from benchmarks.pretraining.networks import NetworkConfig


def use_one_thread() -> None:
    """Use one thread and deterministic algorithms, so that the same seed gives the same weights."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def build_untrained(architecture: str, seed: int) -> Backbone:
    """Build the untrained network in the same way as bob, so that bob can load the weights."""
    return load(resolve(f"random:{architecture},seed={seed}", UserConfig(Path())), "cpu")


def train(network: "NetworkConfig", backbone: Backbone, pool: ImagePool) -> list[float]:
    """Train the backbone in place and return the loss of every step. The backbone ends in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(network.seed)
        objective = OBJECTIVES[network.method](backbone, pool.classes, pool.size)
        optimiser = _optimiser(network, objective)
        losses = []
        backbone.module.train()
        began = time.monotonic()
        for step in range(network.steps):
            for group in optimiser.param_groups:
                group["lr"] = network.learning_rate * _learning_rate_factor(step / network.steps)
            losses.append(_step(objective, optimiser, pool, network.batch))
            if (step + 1) % 50 == 0:
                took = time.monotonic() - began
                print(
                    f"{network.name}: step {step + 1} of {network.steps}, loss {losses[-1]:.3f}, {took:.0f} s",
                    flush=True,
                )
        backbone.module.eval()
    return losses


def _optimiser(network: "NetworkConfig", objective: Objective) -> torch.optim.Optimizer:
    """Build AdamW over the backbone and the heads; the heads have no weight decay."""
    heads = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    groups = [*objective.backbone.parameter_groups(network.weight_decay), {"params": heads, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=network.learning_rate)


def _step(objective: Objective, optimiser: torch.optim.Optimizer, pool: ImagePool, batch: int) -> float:
    """Make one step on a random batch and return its loss."""
    loss: torch.Tensor = objective(pool.draw(batch))
    optimiser.zero_grad()
    loss.backward()
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, 3.0)
    optimiser.step()
    return loss.item()


def _learning_rate_factor(progress: float) -> float:
    """Return the fraction of the peak learning rate: linear warm-up over the first 5%, then cosine decay to 1%."""
    if progress < 0.05:
        return (progress + 0.002) / 0.052
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - 0.05) / 0.95))
