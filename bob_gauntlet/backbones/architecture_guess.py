"""Guess which architecture the weights of a checkpoint belong to, for the message that refuses it."""

import re
import time
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from bob_gauntlet.backbones.checkpoint_fit import fits_but_for_positions
from bob_gauntlet.backbones.checkpoints import Tensors
from bob_gauntlet.backbones.spec import BackboneSpec

SECONDS = 1.0
"""Time that the search may take; it ends after the architecture at hand."""

_MOST = 40


def guess_architecture(spec: BackboneSpec, module: nn.Module, tensors: Tensors) -> str:
    """Return a SPEC of timm whose network the tensors fill, at any image size; "" where no likely one is filled.

    Tried are constructor arguments in which the tensors differ from `module`, the network of the spec, and then the
    architectures of the same module of timm, those first whose names are like the file's or the architecture's.
    Networks are built without memory for their weights.
    """
    end = time.monotonic() + SECONDS
    plain = {n: t for n, t in tensors.items() if t.layout == torch.strided and not t.is_quantized}
    shapes = {name: tensor.to("meta") for name, tensor in plain.items()}
    for target, arguments in _likely(spec, _changes(module, tensors)):
        every = {**spec.arguments, **arguments}
        if _is_filled(target, every, shapes):
            return ",".join([f"timm:{target}", *(f"{key}={_format_value(value)}" for key, value in every.items())])
        if time.monotonic() > end:
            break
    return ""


def _likely(spec: BackboneSpec, changes: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield architectures with changes of the spec's constructor arguments, the likely ones first."""
    target = spec.target.partition(".")[0]
    if changes:
        yield target, changes
    module = timm.model_entrypoint(target).__module__.rpartition(".")[2]
    stem = Path(spec.path).stem.lower()
    names = [name for name in timm.list_models(module=module) if name != target]
    likeness = {n: max(SequenceMatcher(None, n, text).ratio() for text in (target, stem)) for n in names}
    for name in sorted(names, key=lambda name: -likeness[name])[:_MOST]:
        yield name, {}


def _changes(module: nn.Module, tensors: Tensors) -> dict[str, Any]:
    """Return the constructor arguments in which the tensors show another vision transformer than the module."""
    present = _show_arguments(module.state_dict())
    return {name: value for name, value in _show_arguments(tensors).items() if present.get(name) != value}


def _show_arguments(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return the arguments of a vision transformer that tensors show: depth, patches, layer scale, registers."""
    blocks = {int(match[1]) for name in tensors if (match := re.match(r"blocks\.(\d+)\.", name))}
    arguments: dict[str, Any] = {"depth": max(blocks) + 1} if blocks else {}
    patches = tensors.get("patch_embed.proj.weight")
    if blocks and patches is not None and patches.ndim == 4:
        arguments["patch_size"] = int(patches.shape[-1])
    if "blocks.0.ls1.gamma" in tensors:
        arguments["init_values"] = 1e-5
    if "reg_token" in tensors:
        arguments["reg_tokens"] = int(tensors["reg_token"].shape[1])
    return arguments


def _format_value(value: Any) -> str:
    """Return a constructor argument as it is typed in a SPEC."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _is_filled(target: str, arguments: Mapping[str, Any], shapes: Tensors) -> bool:
    """Return whether tensors on the meta device fill a network completely and have no other place in it."""
    try:
        with torch.device("meta"):
            network = timm.create_model(target, num_classes=0, **arguments)
        return fits_but_for_positions(network, shapes)
    except Exception:  # an architecture may not take the arguments, or compute with its weights while it is built
        return False
