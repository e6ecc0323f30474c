"""Fine-tuning as timm's train script has it, of timm's parts alone: what `finetuning.py` compares with."""

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


def plain(
    backbone: Backbone, folder: Path, recipe: FineTune, layout: torch.memory_format, classes: int
) -> Callable[[], float]:
    """An epoch over the class folders in `folder` with the recipe's first rates: a call that gives its seconds."""
    model = timm.create_model(backbone.spec.target, num_classes=classes, drop_path_rate=recipe.drop_path)
    model.load_state_dict(backbone.module.state_dict(), strict=False)
    model = model.to(memory_format=layout).train()
    optimiser = create_optimizer_v2(
        model, opt="adamw", lr=recipe.lrs[0], weight_decay=recipe.weight_decays[0], layer_decay=recipe.layer_decays[0]
    )
    mixup = Mixup(recipe.mixup, recipe.cutmix, label_smoothing=recipe.smoothing, num_classes=classes)  # type: ignore[no-untyped-call]
    loss_of: Any = SoftTargetCrossEntropy()  # type: ignore[no-untyped-call]
    batches = loader(backbone, folder, recipe)

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


def loader(backbone: Backbone, folder: Path, recipe: FineTune) -> Any:
    """timm's loader with one process and the recipe's augmentation."""
    own = backbone.identity.input_transform(recipe.input_size)
    batches = create_loader(
        ImageDataset(str(folder)),  # type: ignore[no-untyped-call]
        (3, own.size, own.size),
        recipe.batch,
        is_training=True,
        use_prefetcher=False,
        auto_augment=recipe.auto_augment,
        color_jitter=0.0,
        re_prob=recipe.erasing,
        re_mode="pixel",
        interpolation="random",
        mean=own.mean,
        std=own.std,
        num_workers=1,
        device=torch.device("cpu"),
    )
    for part in batches.dataset.transform.transforms:
        for op in part.ops if isinstance(part, RandAugment) else ():
            if op.name.startswith("Posterize"):
                op.aug_fn = partial(_posterize, op.aug_fn)
    return batches


def _posterize(posterize: Callable[..., Any], image: Any, bits: int, **options: Any) -> Any:
    """timm asks for 0 bits at the highest magnitude, which Pillow refuses."""
    return posterize(image, max(1, bits), **options)
