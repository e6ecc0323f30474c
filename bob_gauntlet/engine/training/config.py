"""The hyper-parameters of one training run, and its learning-rate schedule."""

from dataclasses import dataclass
from typing import Any, Literal

from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.multistep_lr import MultiStepLRScheduler
from torch.optim import Optimizer


@dataclass(frozen=True)
class TrainingConfig:
    """The hyper-parameters of one training run."""

    lr: float
    weight_decay: float
    layer_decay: float | None
    epochs: int
    warmup_epochs: int
    warmup_lr: float
    min_lr: float
    optimiser: Literal["adamw", "sgd", "lars"] = "adamw"
    # change the learning rate after every step, instead of after every epoch
    per_step: bool = False
    # epochs after which the learning rate is divided by 10; without any, it follows a cosine
    drops: tuple[int, ...] = ()
    # steps of the warm-up; 0 counts it in `warmup_epochs`. At most a tenth of all steps
    warmup_steps: int = 0
    # images in one forward and backward pass; halved when memory runs out
    micro_batch: int = 128
    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.0
    # largest norm of a step's gradient; a longer gradient is scaled down to it
    clip: float | None = None
    # mixed precision on a GPU
    amp: bool = False
    # end the run after this many steps
    max_steps: int | None = None
    # validate after every epoch and keep the weights of the best epoch, instead of the last
    best_epoch: bool = False
    # validate after each of the first `curve` epochs, and after the last epoch
    curve: int = 10

    @property
    def description(self) -> str:
        """Optimiser, learning rate and decays in words: what distinguishes the runs of a grid."""
        layers = f", layer decay {self.layer_decay:g}" if self.layer_decay else ""
        return f"{self.optimiser} lr {self.lr:g}, weight decay {self.weight_decay:g}{layers}"


def create_schedule(config: TrainingConfig, optimiser: Optimizer, steps: int) -> Any:
    """Return timm's learning-rate scheduler for epochs of `steps` steps; it counts steps if `config.per_step`."""
    unit = steps if config.per_step else 1
    warmup = min(config.warmup_epochs, config.epochs - 1) * unit
    if config.warmup_steps:
        warmup = min(config.warmup_steps, config.epochs * steps // 10)
    if config.drops:
        return MultiStepLRScheduler(
            optimiser,
            # timm changes the rate one step (or epoch) earlier than `decay_t` says
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
