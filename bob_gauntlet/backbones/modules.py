"""Backbones from networks that live in the caller's process, for example in the middle of a training. Imports torch.

The caller's network is copied and otherwise left alone: its training mode, device, gradients and hooks stay as they
are.
"""

import hashlib
import inspect
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from torch import nn

from bob_gauntlet.backbones.checkpoints import first_line
from bob_gauntlet.errors import UsageError

_VERSIONED = ("torch", "timm", "builtins")
"""Packages whose code needs no digest: their classes are the same wherever their version is."""

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
    without its history.
    """
    computed = [t for part in module.modules() for t in vars(part).values() if _is_computed(t)]
    try:
        return deepcopy(module, {id(tensor): tensor.detach().clone() for tensor in computed}).float()
    except Exception as error:  # a user's module may keep anything, such as an open file or a lock
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"module {name!r} cannot be copied ({reason}); pass the bare network") from error


def takes_any_size(network: nn.Module, size: int) -> bool:
    """Return whether the network takes images of another size than `size` pixels; one forward pass tells."""
    other = 64 if size == 96 else 96
    tensors = [*network.parameters(), *network.buffers()]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, other, other, device=tensors[0].device if tensors else "cpu"))
    except Exception:  # a user's network may raise anything on a size that it does not take
        return False
    return True


def describe_structure(module: nn.Module) -> dict[str, Any]:
    """Return what else than weights decides about the features: class, settings and plain tensors of every part.

    Settings are the attributes that are plain values (numbers, texts, lists of them) or functions: a number of heads,
    an activation. Two networks with the same weights and different settings are two backbones.
    """
    return {
        name: {"class": qualified_name(type(part)), **_settings(part)}
        for name, part in module.named_modules(remove_duplicate=False)
    }


def structure_code(module: nn.Module) -> dict[str, str]:
    """Return class -> digest of the file that defines it, of every class in the network that is not torch's or timm's.

    A class without a file, as in a notebook, is identified by the bytecode of its methods.
    """
    classes = {cls for part in module.modules() for cls in type(part).__mro__}
    return {
        qualified_name(cls): _class_digest(cls) for cls in classes if cls.__module__.partition(".")[0] not in _VERSIONED
    }


def _is_computed(value: Any) -> bool:
    """Return whether a value is a tensor with a history, which torch refuses to copy."""
    return isinstance(value, torch.Tensor) and value.grad_fn is not None


def qualified_name(thing: Any) -> str:
    """Return `package.module.Class`, or the same of a function."""
    return f"{thing.__module__}.{thing.__qualname__}"


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


def _class_digest(cls: type) -> str:
    """Return the digest of the file of a class, or of the bytecode of its methods where it has no file."""
    try:
        path = inspect.getsourcefile(cls)
    except (TypeError, OSError):  # a class of a notebook, of `python -c`, or written in C
        path = None
    if path is not None and Path(path).is_file():
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    codes = [_bytecode(method.__code__) for _, method in sorted(vars(cls).items()) if hasattr(method, "__code__")]
    return hashlib.sha256("\n".join(codes).encode()).hexdigest()[:16]


def _bytecode(code: CodeType) -> str:
    """Return the instructions, names and constants of a function; line numbers and addresses do not enter."""
    constants = [_bytecode(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_name} {code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"
