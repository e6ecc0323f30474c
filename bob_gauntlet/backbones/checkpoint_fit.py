"""Compare the tensors of a checkpoint with a network: what fills it, what is missing, and what has no place in it."""

import math
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from bob_gauntlet.backbones.checkpoints import Tensors
from bob_gauntlet.errors import UsageError, named

_IGNORED = (
    "num_batches_tracked", "total_ops", "total_params", "relative_position_index", "relative_coords_table", "attn_mask",
)  # fmt: skip
"""Last steps of names on which no feature depends: counters, and tables that a network computes from its shape."""

_HEADS = ("head", "head_dist", "fc", "classifier", "pre_logits")
"""Modules for a classifier; without one, timm's networks keep an empty module of that name."""

_TOKENS = ("register_tokens", "storage_tokens", "dist_token")
"""Tokens that change the features of a transformer and that timm keeps under another name, or in another class."""

_POSITIONS = ("pos_embed", "relative_position_bias_table", "rel_pos", "attention_biases", "position")
"""Parts of the names of position tables, which may be resampled to another number of patches."""


@dataclass(frozen=True)
class Fit:
    """The result of comparing one part of a checkpoint with a network: which tensors fit, and which do not."""

    # what fills the network, by the network's names
    filling: Tensors
    # names of the network without a tensor, and with a tensor of another shape (name -> that tensor)
    missing: tuple[str, ...]
    differing: Tensors
    # names of the checkpoint inside containers of the network, where the network has no such tensor
    surplus: tuple[str, ...]
    # names of the checkpoint whose tensors are used, or on which no feature depends
    used: frozenset[str]
    # position table of the network -> the shape that it had in the checkpoint
    resampled: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def problems(self) -> int:
        """The number of tensors that are missing, have another shape or have no place in the network."""
        return len(self.missing) + len(self.differing) + len(self.surplus)


def fit(module: nn.Module, tensors: Tensors) -> Fit:
    """Compare tensors with a network, under their own names or those of timm's filter for published formats.

    Patches of another size are a difference: timm's filters would resample them without a word.
    """
    plain = _compare(module, tensors)
    if not plain.problems:
        return plain
    converted = _convert_published_format(module, tensors)
    return min(plain, _compare_converted(module, tensors, converted), key=lambda each: each.problems)


def check_numbers(module: nn.Module, filling: Tensors, source: str) -> None:
    """Raise UsageError where a tensor cannot be loaded as it is: sparse, quantised, complex, without data, or NaN."""
    expected = module.state_dict()
    for name, tensor in filling.items():
        problem = _find_problem(tensor, expected[name])
        if problem:
            raise UsageError(f"{source}: {name} {problem}; save model.state_dict() in plain floating-point numbers")


def share_filled(module: nn.Module, filling: Iterable[str]) -> float:
    """Return the share of a network's parameters and buffers that tensors of these names fill, counted by numbers."""
    sizes = {name: tensor.numel() for name, tensor in module.state_dict().items() if not _is_ignored(name)}
    filled = sum(sizes.get(name, 0) for name in filling)
    return float(filled / max(1, sum(sizes.values())))


def fits_but_for_positions(module: nn.Module, tensors: Tensors) -> bool:
    """Return whether tensors fill a network completely, apart from the shape of position tables."""
    compared = _compare(module, tensors)
    return not compared.missing and not compared.surplus and all(map(_is_position, compared.differing))


def describe_resampling(module: nn.Module, fitted: Fit, source: str) -> list[str]:
    """Return a line for every kind of position table that was resampled, with its grids in the file and the network."""
    expected = module.state_dict()
    names_by_change: dict[str, list[str]] = {}
    for name, shape in fitted.resampled.items():
        change = f"from {_grid(shape)} to {_grid(tuple(expected[name].shape))}"
        names_by_change.setdefault(change, []).append(name)
    return [
        f"{named(names, 1)} of {source} resampled {change}, as the network was built for images of another size; "
        "img_size=PIXELS in the SPEC changes that"
        for change, names in names_by_change.items()
    ]


def _compare(module: nn.Module, tensors: Tensors) -> Fit:
    """Compare tensors under the network's names with the network."""
    expected = {name: tensor for name, tensor in module.state_dict().items() if hasattr(tensor, "shape")}
    differing = {n: t for n, t in tensors.items() if n in expected and t.shape != expected[n].shape}
    filling = {n: t for n, t in tensors.items() if n in expected and n not in differing}
    ignored = {name for name in tensors if name not in expected and _is_ignored(name)}
    computed = {name for name, _ in module.named_buffers() if name not in expected}
    others = set(tensors) - set(expected) - ignored - computed
    return Fit(
        filling=filling,
        missing=tuple(name for name in expected if name not in tensors and not _is_ignored(name)),
        differing=differing,
        surplus=tuple(name for name in tensors if name in others and _belongs(name, module, expected)),
        used=frozenset({*filling, *differing, *ignored, *computed}),
    )


def _compare_converted(module: nn.Module, tensors: Tensors, converted: Tensors) -> Fit:
    """Compare converted tensors with the network; what was resampled, and is no position table, counts as differing."""
    after = _compare(module, converted)
    before = {_storage(tensor) for tensor in tensors.values()}
    storages = {_storage(tensor) for tensor in converted.values()}
    unused = {name: tensor for name, tensor in tensors.items() if _storage(tensor) not in storages}
    computed = {name: tensor for name, tensor in after.filling.items() if _storage(tensor) not in before}
    sources = {name: source for name, tensor in computed.items() if (source := _find_source(name, tensor, unused))}
    resampled = {name: source for name, source in sources.items() if tensors[source].numel() != converted[name].numel()}
    patches = {name: tensors[source] for name, source in resampled.items() if not _is_position(name)}
    kept = {name: tensor for name, tensor in after.filling.items() if name not in patches}
    in_place = {_storage(tensor) for tensor in [*after.filling.values(), *after.differing.values()]}
    return Fit(
        filling=kept,
        missing=after.missing,
        differing={**after.differing, **patches},
        surplus=after.surplus,
        used=frozenset(name for name in tensors if name in after.used or _storage(tensors[name]) in in_place)
        | frozenset(sources.values()),
        resampled={name: tuple(tensors[source].shape) for name, source in resampled.items() if name not in patches},
    )


def _find_source(name: str, tensor: torch.Tensor, unused: Tensors) -> str:
    """Return the name in the checkpoint of the tensor that a filter resampled or computed; "" where it is unchanged."""
    if name in unused:
        return name
    if _is_position(name):
        same_width = (n for n, t in unused.items() if _is_position(n) and t.shape[-1:] == tensor.shape[-1:])
        return next(same_width, "")
    same_channels = (n for n, t in unused.items() if t.ndim == tensor.ndim == 4 and t.shape[:2] == tensor.shape[:2])
    return next(same_channels, "")


def _convert_published_format(module: nn.Module, tensors: Tensors) -> Tensors:
    """Return the tensors with the names and shapes that the architecture's own checkpoint filter in timm gives them."""
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    dense = {name: tensor for name, tensor in tensors.items() if not _is_special(tensor)}
    if convert is None:
        return tensors
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the filters of some architectures use what torch deprecates
            converted: Tensors = convert(dense, module)
    except Exception:  # a filter may raise anything on keys that it does not know; the plain names are used then
        return tensors
    return converted


def _belongs(name: str, module: nn.Module, expected: Mapping[str, Any]) -> bool:
    """Return whether a name lies in a container that the network has, so that its tensor would change the features.

    A network also knows modules and tokens that it was built without (None, or an empty module). Classifiers are no
    part of a backbone.
    """
    top = name.partition(".")[0]
    if any(_is_inside(name, head) for head in _heads(module, expected)):
        return False
    known = getattr(module, top, False)
    has_top = any(_is_inside(other, top) for other in expected)
    return has_top or known is None or isinstance(known, nn.Module | torch.Tensor) or top in _TOKENS


def _heads(module: nn.Module, expected: Iterable[str]) -> list[str]:
    """Return the modules that only a classifier has: those around timm's classifier without a tensor of the network.

    A classifier of two layers, `head.fc.fc2`, gives `head.fc` where the network has `head.norm` and no more.
    """
    configured: Any = (getattr(module, "pretrained_cfg", None) or {}).get("classifier") or ()
    heads = []
    for classifier in (*_HEADS, *((configured,) if isinstance(configured, str) else configured)):
        steps = classifier.split(".")
        around = (".".join(steps[: count + 1]) for count in range(len(steps)))
        heads += [outer for outer in around if not any(_is_inside(name, outer) for name in expected)][:1]
    return heads


def _is_inside(name: str, container: str) -> bool:
    """Return whether a dotted name is a container or lies inside it."""
    return name == container or name.startswith(f"{container}.")


def _find_problem(tensor: torch.Tensor, expected: torch.Tensor) -> str:
    """Return why a tensor cannot be loaded into another one, "" where it can be."""
    if _is_special(tensor):
        kinds = {"without data": tensor.is_meta, "quantised": tensor.is_quantized}
        return f"is {next((kind for kind, applies in kinds.items() if applies), 'sparse')}"
    if tensor.is_complex() and not expected.is_complex():
        return "has complex numbers"
    if expected.is_floating_point() and not tensor.is_floating_point():
        return f"has numbers of type {str(tensor.dtype).removeprefix('torch.')}, as of a quantised checkpoint"
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
        return "holds NaN or infinity"
    return ""


def _is_special(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is anything else than a dense array of numbers with data."""
    return tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta


def _storage(tensor: torch.Tensor) -> int:
    """Return an address that a tensor shares with its views and with no other tensor."""
    return id(tensor) if _is_special(tensor) else tensor.untyped_storage().data_ptr()


def _is_ignored(name: str) -> bool:
    return name.rpartition(".")[2] in _IGNORED


def _is_position(name: str) -> bool:
    return any(part in name for part in _POSITIONS)


def _grid(shape: tuple[int, ...]) -> str:
    """Return the grid of a position table, such as 14x14, without its tokens for classes; its shape where none fits.

    >>> _grid((1, 197, 64)), _grid((169, 3)), _grid((1, 7, 9, 64))
    ('14x14', '13x13', '7x9')
    """
    if len(shape) == 4:
        return f"{shape[1]}x{shape[2]}"
    count = shape[-2] if len(shape) > 1 else 0
    for tokens in range(6):
        side = math.isqrt(max(0, count - tokens))
        if side * side == count - tokens and side > 1:
            return f"{side}x{side}"
    return str(shape)
