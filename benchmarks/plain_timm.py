"""Fine-tuning as in timm's train script, with timm's parts only: `finetuning.py` compares with it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import timm
import torch
from timm.data import ImageDataset, Mixup, create_loader  # type: ignore[attr-defined]
from timm.data.auto_augment import RandAugment
from timm.loss import SoftTargetCrossEntropy  # type: ignore[attr-defined]
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from timm.utils import AverageMeter  # type: ignore[attr-defined]

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.protocols.finetune import FineTune


def prepare_epoch(
    backbone: Backbone, folder: Path, recipe: FineTune, layout: torch.memory_format, classes: int
) -> Callable[[], float]:
    """Return a call that trains for one epoch on the class folders in `folder` and returns its seconds.

    The recipe's first learning rate, weight decay and layer decay are used.
    """
    model = timm.create_model(backbone.spec.target, num_classes=classes, drop_path_rate=recipe.drop_path)
    model.load_state_dict(backbone.module.state_dict(), strict=False)
    model = model.to(memory_format=layout).train()
    optimiser = create_optimizer_v2(
        model, opt="adamw", lr=recipe.lrs[0], weight_decay=recipe.weight_decays[0], layer_decay=recipe.layer_decays[0]
    )
    mixup = Mixup(recipe.mixup, recipe.cutmix, label_smoothing=recipe.smoothing, num_classes=classes)  # type: ignore[no-untyped-call]
    loss_of: Any = SoftTargetCrossEntropy()  # type: ignore[no-untyped-call]
    batches = build_loader(backbone, folder, recipe)

    def epoch() -> float:
        start, losses = perf_counter(), AverageMeter()  # type: ignore[no-untyped-call]
        for images, targets in batches:
            mixed, soft = mixup(images, targets)
            loss = loss_of(model(mixed.contiguous(memory_format=layout)), soft)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            losses.update(loss.item(), len(images))  # type: ignore[no-untyped-call]
        return perf_counter() - start

    return epoch


def build_loader(backbone: Backbone, folder: Path, recipe: FineTune) -> Any:
    """Build timm's data loader with one process and the recipe's augmentation."""
    transform = backbone.identity.input_transform(recipe.input_size)
    batches = create_loader(
        ImageDataset(str(folder)),  # type: ignore[no-untyped-call]
        (3, transform.size, transform.size),
        recipe.batch,
        is_training=True,
        use_prefetcher=False,
        auto_augment=recipe.auto_augment,
        color_jitter=0.0,
        re_prob=recipe.erasing,
        re_mode="pixel",
        interpolation="random",
        mean=transform.mean,
        std=transform.std,
        num_workers=1,
        device=torch.device("cpu"),
    )
    for part in batches.dataset.transform.transforms:
        for op in part.ops if isinstance(part, RandAugment) else ():
            if op.name.startswith("Posterize"):
                op.aug_fn = partial(_posterize, op.aug_fn)
    return batches


def _posterize(posterize: Callable[..., Any], image: Any, bits: int, **options: Any) -> Any:
    """Keep at least 1 bit: timm asks for 0 bits at the highest magnitude, which Pillow refuses."""
    return posterize(image, max(1, bits), **options)
