"""Projected gradient descent (PGD) in pixel space: small changes that mislead a classifier (Madry et al., ICLR 2018).

The attacked function takes images in [0, 1], before normalisation, and returns logits. The attack changes every channel
of every pixel by at most epsilon. The attack of an image does not depend on the other images of its batch. Where its
logits become NaN or infinite, the image counts as misclassified and its attack ends.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.engine.allocator import keep_pages
from bob_gauntlet.engine.transforms import image_or_grey, preprocess

LogitsFunction = Callable[[torch.Tensor], torch.Tensor]
"""From (B, 3, H, W) images in [0, 1] to (B, C) logits."""

SuccessRule = Literal["last", "any"]
"""The image that an attack returns: that of the last step, or the first misclassified one, where it ends."""


class NoGradientError(Exception):
    """The loss has no gradient with respect to the image: something between them cannot be differentiated by torch."""


@dataclass(frozen=True)
class AttackResult:
    """The result of an attack on B images."""

    # (B, 3, H, W) attacked images in [0, 1], and their (B, C) logits
    images: torch.Tensor
    logits: torch.Tensor
    # (B,) bool: at some step the gradient was zero in every pixel, so the step changed nothing
    zero_gradient: torch.Tensor


def pgd(
    logits_function: LogitsFunction,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    *,
    steps: int,
    step_size: float,
    success: SuccessRule = "last",
    random_start: bool = False,
    generator: torch.Generator | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> AttackResult:
    """Attack (B, 3, H, W) images in [0, 1] with (B,) labels by untargeted l-infinity PGD on the cross-entropy.

    Each step adds `step_size` x sign(gradient) and clips to the original +- `epsilon` and to [0, 1]; `advance` gets the
    number of images in it. Raises NoGradientError where finite logits have no gradient, or one of NaN.

    >>> against_grey = lambda x: torch.stack([x.mean((1, 2, 3)), 0 * x.mean((1, 2, 3)) + 0.5], dim=1)
    >>> pgd(against_grey, torch.full((1, 3, 2, 2), 0.52), torch.tensor([0]), 0.04, steps=5, step_size=0.01).images.max()
    tensor(0.4800)
    """
    keep_pages()
    active, finished = torch.arange(len(images), device=images.device), []  # `active`: the images still under attack
    zero_gradient = torch.zeros_like(active, dtype=torch.bool)
    attacked, clean, truth = _starting_images(images, epsilon, random_start, generator), images, labels
    for _ in range(steps):
        advance(len(images))
        if not len(active):
            continue
        logits, gradient = _logits_and_gradient(logits_function, attacked, truth)
        if (ended := misclassified(logits, truth) if success == "any" else ~_finite(logits)).any():
            finished.append((active[ended], attacked[ended], logits[ended]))
            active, attacked, clean, truth, gradient = (t[~ended] for t in (active, attacked, clean, truth, gradient))
        zero_gradient[active] |= ~gradient.any(dim=(1, 2, 3))
        attacked = (clean + (attacked + step_size * gradient.sign() - clean).clamp_(-epsilon, epsilon)).clamp_(0, 1)
    if len(active):
        finished.append((active, attacked, logits_without_gradient(logits_function, attacked)))
    indices, attacked, logits = map(torch.cat, zip(*finished, strict=True))
    return AttackResult(attacked[indices.argsort()], logits[indices.argsort()], zero_gradient)


def logits_without_gradient(logits_function: LogitsFunction, images: torch.Tensor) -> torch.Tensor:
    """Return the (B, C) logits of (B, 3, H, W) images in [0, 1], without a graph for differentiation."""
    with torch.no_grad():
        # a copy, since a network may write into its input
        return logits_function(images.clone())


def misclassified(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return (B,) bool: whether a wrong class has at least the logit of the true one, or a logit is NaN or infinite.

    Ties are wrong, as in `metrics.classification.in_top_k`.

    >>> misclassified(torch.tensor([[2.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 0])).tolist()
    [False, True]
    """
    has_rival = (logits >= logits.gather(1, labels[:, None])).sum(dim=1) > 1
    return has_rival | ~_finite(logits)


@contextmanager
def frozen_module(module: nn.Module) -> Iterator[None]:
    """Keep a module in evaluation mode and its parameters without gradients inside the block; restore both after it."""
    modules_in_training = [part for part in module.modules() if part.training]
    parameters_with_gradient = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.eval()
    for parameter in parameters_with_gradient:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for part in modules_in_training:
            part.training = True
        for parameter in parameters_with_gradient:
            parameter.requires_grad_(True)


def pixel_batches(split: Split, transform: InputTransform, size: int) -> Iterator[torch.Tensor]:
    """Yield the preprocessed images of a split in order, in batches of `size`.

    A batch is (B, 3, H, W) float32 in [0, 1], with channels last in memory. Unreadable images are grey.
    """
    for start in range(0, len(split), size):
        images = [
            preprocess(image_or_grey(split, index, (transform.size, transform.size))[0], transform)
            for index in range(start, min(start + size, len(split)))
        ]
        batch = torch.stack(images).contiguous(memory_format=torch.channels_last)
        yield batch.to(torch.float32) / 255


def _finite(logits: torch.Tensor) -> torch.Tensor:
    """Return (B,) bool: whether the logits (B, C) of an image are free of NaN and infinity."""
    return logits.isfinite().all(dim=1)


def _starting_images(
    images: torch.Tensor, epsilon: float, random_start: bool, generator: torch.Generator | None
) -> torch.Tensor:
    """Return the images themselves, or with `random_start` a uniform sample from the epsilon ball around each."""
    if not random_start:
        return images
    # drawn on the CPU, image after image: the same numbers for every device and batch size
    noise = torch.rand(images.shape, generator=generator).to(images.device)
    return (images + epsilon * (2 * noise - 1)).clamp_(0, 1)


def _logits_and_gradient(
    logits_function: LogitsFunction, images: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (B, C), and the gradient of the summed cross-entropy at each pixel (B, 3, H, W).

    The gradient of an image whose logits are NaN or infinite means nothing.
    """
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        logits = logits_function(leaf.clone())
        if not logits.requires_grad:
            raise NoGradientError
        # summed, not averaged: so the gradient of an image does not depend on the batch size
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, leaf, allow_unused=True)
    if gradient is None:
        raise NoGradientError
    if gradient[_finite(logits)].isnan().any():
        # the sign of NaN would be 0, and the image would count as robust
        raise NoGradientError("it is NaN")
    return logits.detach(), gradient
