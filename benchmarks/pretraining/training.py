"""One training loop for every objective: seeded, single-threaded, reproducible to the bit."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.pretraining.objectives import OBJECTIVES, Objective
from benchmarks.pretraining.pool import Pool
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import UserConfig

if TYPE_CHECKING:
    from benchmarks.pretraining.networks import Network


def one_thread() -> None:
    """Sums in one order only, so that the same seed gives the same weights."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def start(architecture: str, seed: int) -> Backbone:
    """The network before training, built as bob builds it, so that the weights will fit."""
    return load(resolve(f"random:{architecture},seed={seed}", UserConfig(Path())), "cpu")


def train(network: "Network", backbone: Backbone, pool: Pool) -> list[float]:
    """Train in place; the loss of every step. The backbone ends in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(network.seed)
        objective = OBJECTIVES[network.method](backbone, pool.classes, pool.size)
        optimiser = _optimiser(network, objective)
        losses = []
        backbone.module.train()
        began = time.monotonic()
        for step in range(network.steps):
            for group in optimiser.param_groups:
                group["lr"] = network.learning_rate * _pace(step / network.steps)
            losses.append(_step(objective, optimiser, pool, network.batch))
            if (step + 1) % 50 == 0:
                took = time.monotonic() - began
                print(
                    f"{network.name}: step {step + 1} of {network.steps}, loss {losses[-1]:.3f}, {took:.0f} s",
                    flush=True,
                )
        backbone.module.eval()
    return losses


def _optimiser(network: "Network", objective: Objective) -> torch.optim.Optimizer:
    heads = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    groups = [*objective.backbone.parameter_groups(network.weight_decay), {"params": heads, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=network.learning_rate)


def _step(objective: Objective, optimiser: torch.optim.Optimizer, pool: Pool, batch: int) -> float:
    loss: torch.Tensor = objective(pool.draw(batch))
    optimiser.zero_grad()
    loss.backward()
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, 3.0)
    optimiser.step()
    return loss.item()


def _pace(progress: float) -> float:
    """Share of the peak learning rate: up over the first 5%, then half a cosine down to 1%."""
    if progress < 0.05:
        return (progress + 0.002) / 0.052
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - 0.05) / 0.95))
