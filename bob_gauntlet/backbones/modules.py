"""Networks of the user: of a factory, or of the caller's process, for example in the middle of a training.

The caller's network is copied and otherwise left alone: its training mode, device, gradients and hooks stay as they
are. Imports torch.
"""

import hashlib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from bob_gauntlet.backbones.checkpoints import first_line
from bob_gauntlet.backbones.source_code import defining_code, qualified_name
from bob_gauntlet.errors import UsageError

_PRIVATE = frozenset(vars(nn.Module())) | {"training", "_is_torch_compile"}
"""Attributes that say nothing of a network's features: containers of every module, training mode, a mark of torch."""


def unwrap(module: nn.Module) -> nn.Module:
    """Return the network inside DataParallel, DistributedDataParallel and torch.compile; any other module as it is."""
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(module, "_orig_mod"):
        inner: Any = getattr(module, "_orig_mod", None) or module.module
        module = inner
    return module


def copy_module(module: nn.Module, name: str) -> nn.Module:
    """Return a copy of the network in float32, without gradients. Raises UsageError where it cannot be copied.

    A tensor that was computed from weights and kept as an attribute, such as the features of the last step, is copied
    without its history. So are the weights of TorchScript, whose copies could not be trained otherwise.
    """
    computed = [t for part in module.modules() for t in vars(part).values() if _is_computed(t)]
    try:
        with torch.no_grad():
            return deepcopy(module, {id(tensor): tensor.detach().clone() for tensor in computed}).float()
    except Exception as error:  # a user's module may keep anything, such as an open file or a lock
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"module {name!r} cannot be copied ({reason}); pass the bare network") from error


def describe_structure(module: nn.Module) -> dict[str, Any]:
    """Return what else than weights decides about the features: class, settings and plain tensors of every part.

    Settings are the attributes that are plain values (numbers, texts, lists of them) or functions: a number of heads,
    an activation. Two networks with the same weights and different settings are two backbones.
    """
    return {
        name: {"class": class_name(part), **({} if is_scripted(part) else _settings(part))}
        for name, part in module.named_modules(remove_duplicate=False)
    }


def structure_code(module: nn.Module, *others: Any) -> dict[str, str]:
    """Return what identifies the code of every class in the network, of its scripted parts, and of `others`."""
    scripts = {f"script {name}": _code_of_script(part) for name, part in module.named_modules() if is_scripted(part)}
    classes = {cls for part in module.modules() for cls in type(part).__mro__}
    return {**scripts, **defining_code([*classes, *others])}


def is_scripted(module: nn.Module) -> bool:
    """Tell whether a module is TorchScript: compiled by torch.jit.script or torch.jit.trace."""
    return isinstance(module, torch.jit.ScriptModule)


def class_name(module: nn.Module) -> str:
    """Return the class of a module as `package.Class`; of a scripted one the name of the class it was made from."""
    return str(module.original_name) if is_scripted(module) else qualified_name(type(module))


def check_tensors(module: nn.Module, name: str) -> None:
    """Raise UsageError in one line where a tensor of the network cannot be identified, converted or trained."""
    for part_name, part in module.named_modules():
        if ".quantized." in f"{type(part).__module__}.":
            raise UsageError(f"{name}: its part {part_name or class_name(part)} is quantised; return the float network")
    for tensor_name, tensor in _tensors(module):
        if problem := _problem(tensor):
            raise UsageError(f"{name}: its tensor {tensor_name} {problem}")


def to_float32(module: nn.Module) -> str:
    """Convert the network's weights to float32; return what was converted, "" where nothing was."""
    types = {str(t.dtype).removeprefix("torch.") for _, t in _tensors(module) if t.is_floating_point()} - {"float32"}
    module.float()
    return f"its {' and '.join(sorted(types))} weights were converted to float32" if types else ""


def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every parameter and buffer of a network with its name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def _problem(tensor: torch.Tensor) -> str:
    """Return why a parameter or buffer cannot be used, and what to do; "" for a tensor like any other."""
    if nn.parameter.is_lazy(tensor):
        return "has no shape yet, since it is in a lazy layer; run one forward pass before you return the network"
    if tensor.is_meta:
        return "has no values, since it is on the meta device; load its weights"
    if tensor.is_quantized:
        return "is quantised; return the float network"
    if tensor.layout is not torch.strided:
        return "is sparse; return the network with dense weights (tensor.to_dense())"
    return "is complex; return a network with real weights" if tensor.is_complex() else ""


def _code_of_script(part: Any) -> str:
    """Return a digest of the code of a scripted module and of the constants in it; "" for one without code."""
    if not hasattr(part, "code"):
        return ""
    code, constants = part.code_with_constants
    values = {name: _plain(value) for name, value in sorted(constants.const_mapping.items())}
    return hashlib.sha256(f"{code}{values}".encode()).hexdigest()[:16]


def _is_computed(value: Any) -> bool:
    """Return whether a value is a tensor with a history, which torch refuses to copy."""
    return isinstance(value, torch.Tensor) and value.grad_fn is not None


def _settings(part: nn.Module) -> dict[str, Any]:
    """Return the plain attributes of one part of a network, and digests of its tensors outside the state_dict."""
    kept = {name: part._buffers[name] for name in part._non_persistent_buffers_set}
    attributes = {**{k: v for k, v in vars(part).items() if k not in _PRIVATE}, **kept}
    plain = {name: _plain(value) for name, value in sorted(attributes.items())}
    return {name: value for name, value in plain.items() if value is not _OTHER}


_OTHER = object()
"""Stands for a value that is not plain; it does not enter the fingerprint."""


def _plain(value: Any) -> Any:
    """Return a plain value, a list of such or the name of a function as it enters the fingerprint; else _OTHER."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, torch.Tensor):
        # a computed tensor changes with every step and decides about nothing
        return _OTHER if _is_computed(value) else _tensor_digest(value)
    if isinstance(value, list | tuple):
        return [item for item in map(_plain, value) if item is not _OTHER]
    if isinstance(value, Mapping):
        items = {str(key): _plain(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not _OTHER}
    return qualified_name(value) if hasattr(value, "__qualname__") else _OTHER


def _tensor_digest(tensor: torch.Tensor) -> str:
    """Return a digest over dtype, shape and content."""
    plain = tensor.detach().cpu().contiguous()
    content = plain.view(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)}".encode() + content).hexdigest()[:16]
