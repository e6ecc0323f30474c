"""The hyper-parameters of one training run, and the learning rate that they ask for."""

from dataclasses import dataclass
from typing import Any, Literal

from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.multistep_lr import MultiStepLRScheduler
from torch.optim import Optimizer


@dataclass(frozen=True)
class TrainingConfig:
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
    # epochs after which the rate is a tenth, instead of a cosine
    drops: tuple[int, ...] = ()
    # steps of the warm-up, instead of epochs; at most a tenth of all
    warmup_steps: int = 0
    # images that go through the network at once; halved where memory runs out
    micro_batch: int = 128
    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.0
    # largest norm of a step's gradient, where it is cut
    clip: float | None = None
    # mixed precision on a GPU
    amp: bool = False
    max_steps: int | None = None
    # validate after every epoch and keep the best one, instead of the last
    best_epoch: bool = False
    # epochs after which validation is scored, from the first; after these, the last epoch alone
    curve: int = 10

    @property
    def description(self) -> str:
        """What tells this run of a grid from the others."""
        layers = f", layer decay {self.layer_decay:g}" if self.layer_decay else ""
        return f"{self.optimiser} lr {self.lr:g}, weight decay {self.weight_decay:g}{layers}"


def create_schedule(config: TrainingConfig, optimiser: Optimizer, steps: int) -> Any:
    """timm's scheduler of the learning rate, for epochs of that many steps: by epochs, or by steps with `per_step`."""
    unit = steps if config.per_step else 1
    warmup = min(config.warmup_epochs, config.epochs - 1) * unit
    if config.warmup_steps:
        warmup = min(config.warmup_steps, config.epochs * steps // 10)
    if config.drops:
        return MultiStepLRScheduler(
            optimiser,
            # timm drops the rate one step before the one it is told
            decay_t=[drop * unit + 1 for drop in config.drops],
            decay_rate=0.1,
            warmup_t=warmup,
            warmup_prefix=False,
            warmup_lr_init=config.warmup_lr,
            t_in_epochs=not config.per_step,
        )
    return CosineLRScheduler(
        optimiser,
        t_initial=config.epochs * unit,
        lr_min=config.min_lr,
        warmup_t=warmup,
        warmup_lr_init=config.warmup_lr,
        t_in_epochs=not config.per_step,
    )
