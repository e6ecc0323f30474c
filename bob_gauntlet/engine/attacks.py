"""Projected gradient descent in pixel space: the smallest changes that mislead a classifier (Madry et al., ICLR 2018).

A classifier takes images as numbers in [0, 1], before normalisation, and gives logits. What the attack may change is
bounded there by epsilon in every channel of every pixel. No image's attack depends on the others of its batch.
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
SuccessRule = Literal["last", "any"]


class NoGradientError(Exception):
    """The loss has no gradient at the image: on the way, something leaves torch's differentiation."""


@dataclass(frozen=True)
class AttackResult:
    """What an attack ended with, for each of B images."""

    # (B, 3, H, W) in [0, 1], and the (B, C) logits by which they are judged
    images: torch.Tensor
    logits: torch.Tensor
    # (B,) bool: at some step the gradient was zero in every pixel, so that there was nowhere to go
    zero_gradient: torch.Tensor


def pgd(
    classifier: LogitsFunction,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    *,
    steps: int,
    step_size: float,
    success: SuccessRule = "last",
    random_start: bool = False,
    generator: torch.Generator | None = None,
    advance: Callable[[int], None] = lambda count: None,  # counts images x steps
) -> AttackResult:
    """Untargeted l-infinity PGD of (B, 3, H, W) images in [0, 1] with (B,) labels: ascent of their cross-entropy.

    Each step goes `step_size` along the gradient's sign, then back into the ball of radius `epsilon` and into [0, 1].
    "last" judges the last iterate, "any" an image's first wrong one. Raises NoGradient where there is none, or NaN.

    >>> against_grey = lambda x: torch.stack([x.mean((1, 2, 3)), 0 * x.mean((1, 2, 3)) + 0.5], dim=1)
    >>> pgd(against_grey, torch.full((1, 3, 2, 2), 0.52), torch.tensor([0]), 0.04, steps=5, step_size=0.01).images.max()
    tensor(0.4800)
    """
    keep_pages()
    left, done = torch.arange(len(images), device=images.device), []
    stuck = torch.zeros_like(left, dtype=torch.bool)
    now, clean, truth = _start(images, epsilon, random_start, generator), images, labels
    for _ in range(steps):
        advance(len(images))
        if not len(left):
            continue
        logits, slope = _gradient(classifier, now, truth)
        if success == "any" and (wrong := misclassified(logits, truth)).any():
            done.append((left[wrong], now[wrong], logits[wrong]))
            left, now, clean, truth, slope = (t[~wrong] for t in (left, now, clean, truth, slope))
        stuck[left] |= ~slope.any(dim=(1, 2, 3))
        now = (clean + (now + step_size * slope.sign() - clean).clamp_(-epsilon, epsilon)).clamp_(0, 1)
    if len(left):
        done.append((left, now, logits_without_gradient(classifier, now)))
    places, moved, logits = map(torch.cat, zip(*done, strict=True))
    return AttackResult(moved[places.argsort()], logits[places.argsort()], stuck)


def logits_without_gradient(classifier: LogitsFunction, images: torch.Tensor) -> torch.Tensor:
    """(B, C) logits, without anything kept for a gradient."""
    with torch.no_grad():
        # a copy, since a network may write into its input
        return classifier(images.clone())


def misclassified(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(B,) bool: another class scores at least as high as the true one, as in `metrics.classification.in_top_k`.

    >>> misclassified(torch.tensor([[2.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 0])).tolist()
    [False, True]
    """
    return (logits >= logits.gather(1, labels[:, None])).sum(dim=1) > 1


@contextmanager
def frozen_module(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no parameter that takes a gradient; put back as it was, after an exception too."""
    training = [part for part in module.modules() if part.training]
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for part in training:
            part.training = True
        for parameter in learning:
            parameter.requires_grad_(True)


def pixel_batches(split: Split, transform: InputTransform, size: int) -> Iterator[torch.Tensor]:
    """Batches of `size` preprocessed images in order: (B, 3, H, W) float32 in [0, 1], channels last in memory."""
    for start in range(0, len(split), size):
        places = range(start, min(start + size, len(split)))
        found = [preprocess(image_or_grey(split, i, (transform.size, transform.size))[0], transform) for i in places]
        batch = torch.stack(found).contiguous(memory_format=torch.channels_last)
        yield batch.to(torch.float32) / 255


def _start(images: torch.Tensor, epsilon: float, random: bool, generator: torch.Generator | None) -> torch.Tensor:
    """The images themselves, or a uniform draw from the ball of each."""
    if not random:
        return images
    # drawn on the CPU, image after image: the same numbers for every device and batch size
    noise = torch.rand(images.shape, generator=generator).to(images.device)
    return (images + epsilon * (2 * noise - 1)).clamp_(0, 1)


def _gradient(
    classifier: LogitsFunction, images: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, C), and what the summed cross-entropy's gradient is at each pixel (B, 3, H, W)."""
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        logits = classifier(leaf.clone())
        if not logits.requires_grad:
            raise NoGradientError
        # summed, not averaged: an image's gradient is the same in every batch
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, leaf, allow_unused=True)
    if slope is None:
        raise NoGradientError
    if slope.isnan().any():
        # its sign would be 0, and the image pass for robust
        raise NoGradientError("it is NaN")
    return logits.detach(), slope
