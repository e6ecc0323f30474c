"""The probing forward: a few small images go through a new backbone before anything is measured. Imports torch.

It finds out which sizes the network takes, and refuses in one line what gives no features: outputs of another shape,
width or type, and features that are not finite, not the same twice, or that depend on the other images of the batch.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.checkpoints import first_line
from bob_gauntlet.backbones.spec import MINI_SIZES, Traits
from bob_gauntlet.errors import BobError, UsageError

REPEATED, ALONE = 1e-4, 2e-2
"""Largest difference, relative to the largest feature, between two equal passes, and of an image without its batch.

The second is larger: the order of a sum depends on the size of the batch, and bfloat16 keeps 8 bits of a number.
"""


@dataclass(frozen=True)
class _Pass:
    """The output of one forward pass, and the features that are computed from this output."""

    raw: torch.Tensor
    features: torch.Tensor
    # name and width of the Linear layer whose output was returned; "" for none
    linear: str


def probe(backbone: Backbone) -> tuple[Traits, list[str]]:
    """Return the traits with the input sizes that the network takes, and what its user should be warned of.

    Raises UsageError in one line for a network whose features cannot be used.
    """
    devices = [torch.device(backbone.device)] if backbone.device.startswith("cuda") else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        traits, passes = _try_sizes(backbone)
        size, first = next(iter(passes.items()))
        _check_shapes(backbone, passes)
        if not bool(first.features.isfinite().all()):
            raise UsageError(f"{backbone.name}: its features of noise are NaN or infinite; check its weights")
        _check_alone(backbone, size, first)
    return traits, _warnings(first)


def _try_sizes(backbone: Backbone) -> tuple[Traits, dict[int, _Pass]]:
    """Return the traits with the sizes that the network takes, and its passes by size.

    Where it fails at a size of mini scale, it has to take the size of its input transform. Raises UsageError otherwise.
    """
    passes: dict[int, _Pass] = {}
    # timm calls some networks fixed that take any size: the forward pass decides
    traits = replace(backbone.identity.traits, any_size=True)
    sizes = dict.fromkeys(replace(backbone.identity, traits=traits).input_transform(size).size for size in MINI_SIZES)
    for size in sizes:
        try:
            passes[size] = _forward(backbone, size, count=1 if passes else 2)
        except BobError:
            raise
        except Exception:  # a network may raise anything at a size that it does not take
            continue
    if len(passes) == len(sizes):
        return traits, passes
    own_size = backbone.identity.transform.size
    try:
        at_own_size = _forward(backbone, own_size)
    except BobError:
        raise
    except Exception as error:  # the network is the user's code: whatever it raises is reported in one line
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(
            f"{backbone.name}: its forward fails on (2, 3, {own_size}, {own_size}) images ({reason}); a module takes "
            "normalised (B, 3, H, W) images, and a size of its own is declared in bob.toml as size = PIXELS"
        ) from error
    if MINI_SIZES[0] in passes:
        return replace(traits, min_size=MINI_SIZES[0]), {**passes, own_size: at_own_size}
    return replace(traits, any_size=False), {own_size: at_own_size}


def _forward(backbone: Backbone, size: int, count: int = 2) -> _Pass:
    """Send `count` images of noise through the network. Raises UsageError where their features cannot be used."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 3, size, size, generator=generator)
    # the second image is brighter, so that statistics of a batch differ from those of one image
    images = torch.stack([noise[0], 0.5 * noise[1] + 1])[:count].to(backbone.device)
    with _recorded_linears(backbone.module) as linears:
        raw = backbone.forward(images)
    if isinstance(raw, torch.Tensor) and not raw.is_floating_point():
        kind = str(raw.dtype).removeprefix("torch.")
        raise UsageError(f"{backbone.name}: its features are {kind} numbers; a module has to return real ones")
    try:
        features = backbone.pool(raw, count)
    except BobError as error:
        raise UsageError(str(error)) from error
    return _Pass(raw, features, next((name for name, output in linears.items() if output is raw), ""))


@contextmanager
def _recorded_linears(module: nn.Module) -> Iterator[Mapping[str, torch.Tensor]]:
    """Record the output of every Linear layer during the block, by name."""
    outputs: dict[str, torch.Tensor] = {}

    def recorder(name: str) -> Any:
        return lambda _, __, output: outputs.update({name: output})

    layers = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    handles = [part.register_forward_hook(recorder(name)) for name, part in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _check_shapes(backbone: Backbone, passes: Mapping[int, _Pass]) -> None:
    """Raise UsageError for channels that come last, for tokens without a class token, and for a width that changes."""
    shapes = [tuple(each.raw.shape) for each in passes.values()]
    shape = shapes[0]
    if len(shape) == 4 and shape[2] != shape[3]:
        raise UsageError(
            f"{backbone.name}: forward gave {shape} for square images, so its channels come last; return "
            "maps.permute(0, 3, 1, 2)"
        )
    counts = {each[1] for each in shapes if len(each) == 3}
    if counts and all(count > 1 and math.isqrt(count) ** 2 == count for count in counts) and len(counts) == len(shapes):
        side = math.isqrt(shape[1])
        raise UsageError(
            f"{backbone.name}: forward gave {shape}, {side} x {side} patches without a class token; return "
            "tokens.mean(1), or put the class token first"
        )
    widths = {each.features.shape[1] for each in passes.values()}
    if len(widths) > 1:
        by_size = " and ".join(f"{each.features.shape[1]} at {size} px" for size, each in passes.items())
        raise UsageError(
            f"{backbone.name}: the number of its features depends on the input size ({by_size}); pool over positions"
        )


def _check_alone(backbone: Backbone, size: int, first: _Pass) -> None:
    """Raise UsageError where the features of an image are random, or depend on the other image of its batch."""
    remedy = "use running statistics of BatchNorm in evaluation mode"
    try:
        alone = _forward(backbone, size, count=1).features
    except BobError:
        raise
    except Exception as error:  # as BatchNorm in training mode does on a batch of one
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"{backbone.name}: its forward fails on a batch of one image ({reason}); {remedy}") from error
    gap = _gap(first.features[:1], alone)
    if gap > REPEATED and _gap(first.features, _forward(backbone, size).features) > REPEATED:
        raise UsageError(
            f"{backbone.name}: two forward passes of the same images give different features; switch off what is "
            "random in evaluation mode, such as dropout"
        )
    if gap > ALONE:
        raise UsageError(f"{backbone.name}: the features of an image depend on the other images of its batch; {remedy}")


def _gap(features: torch.Tensor, others: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest feature; infinity where shapes differ or one is NaN."""
    if features.shape != others.shape or not bool(others.isfinite().all()):
        return math.inf
    largest = float(features.abs().max())
    return float((features - others).abs().max()) / largest if largest else float(others.abs().max())


def _warnings(first: _Pass) -> list[str]:
    """Return a warning where the features look like the logits of a classifier."""
    if not first.linear:
        return []
    return [
        f"its {first.features.shape[1]} features are the output of its last Linear layer, {first.linear}: where these "
        "are the logits of a classifier, return what goes into it instead"
    ]
