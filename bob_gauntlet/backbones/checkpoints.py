"""Reading a checkpoint without executing it, and filling a network with all of it or refusing.

Imports torch inside, so that naming a checkpoint costs nothing.
"""

import argparse
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bob_gauntlet.errors import UsageError

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]

_NESTS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher", "backbone", "module", "model_state")
_COUNTER = "num_batches_tracked"  # of batch norm; no feature depends on it
_ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")


def check_file(path: Path) -> None:
    """UsageError where a file is no readable checkpoint, judged by its name and header alone."""
    if path.suffix not in _ENDINGS:
        raise UsageError(f"{path} is no checkpoint by its name; known endings are {', '.join(_ENDINGS)}")
    if path.suffix == ".safetensors":
        _safetensors_names(path)
    elif (names := _archive_names(path)) is not None:
        if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
            raise UsageError(f"{path} is a TorchScript archive, which is code; save model.state_dict() instead")
        if not any(name.endswith("data.pkl") for name in names):
            raise UsageError(f"{path} is a zip archive, but no torch checkpoint")


def read(path: Path) -> Tensors:
    """Every tensor of a checkpoint by name; nothing in the file is executed.

    Unpickling is limited to tensors, plain containers and what published checkpoints carry beside them
    (argparse.Namespace, NumPy scalars). Raises UsageError for anything else, with what to do.
    """
    check_file(path)
    found = _load_safetensors(path) if path.suffix == ".safetensors" else _unpickle(path)
    tensors = _tensors(found)
    if not tensors:
        raise UsageError(f"{path} holds no tensors; save model.state_dict()")
    return tensors


def _archive_names(path: Path) -> list[str] | None:
    """What a zip archive holds; None for another file."""
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception as error:  # a damaged directory raises anything from BadZipFile to NotImplementedError
        raise UsageError(f"{path} is a damaged archive ({first_line(error)}); copy it again") from error


def _safetensors_names(path: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is damaged or no safetensors file ({error}); copy it again") from error


def _load_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is damaged ({error}); copy it again") from error


def _unpickle(path: Path) -> Any:
    import pickle

    import numpy as np
    import torch

    harmless = [argparse.Namespace, np.dtype, np.ndarray, *_numpy_internals(), *map(type, map(np.dtype, "fdilbB?"))]
    try:
        with torch.serialization.safe_globals(harmless), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it asks for {asked[1]}" if asked else "its pickle is damaged or is more than weights"
        raise UsageError(f"{path} is refused: {what}; weights are never executed, save model.state_dict()") from error
    except Exception as error:  # damaged bytes raise anything: struct.error, IndexError, AssertionError, ...
        raise UsageError(f"{path} is truncated or no torch checkpoint ({first_line(error)}); copy it again") from error


def _numpy_internals() -> list[Any]:
    """The functions that rebuild NumPy scalars and arrays, under today's and yesterday's module names."""
    import numpy as np

    core: Any = getattr(np, "_core", None) or np.core  # NumPy 2, NumPy 1
    functions, modules = ("scalar", "_reconstruct"), ("core", "_core")
    return [(getattr(core.multiarray, f), f"numpy.{m}.multiarray.{f}") for f in functions for m in modules]


def _tensors(found: Any) -> Tensors:
    """The named tensors of a checkpoint, unwrapped from the usual nests (state_dict, model, teacher, ...)."""
    import torch

    for _ in range(8):  # bounded, as a pickled dict may hold itself
        nest = next((n for n in _NESTS if isinstance(found, Mapping) and isinstance(found.get(n), Mapping)), None)
        if nest is None:
            break
        found = found[nest]
    if not isinstance(found, Mapping):
        return {}
    return {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}


def fill(module: "torch.nn.Module", tensors: Tensors, source: str, *, allow_partial: bool) -> list[str]:
    """Load the tensors into the module, all of it; returns the names that were left over (heads, projectors).

    Prefixes such as `module.` or `backbone.` are found by what fits; the architecture's own filter of published
    formats is tried where plain names do not fill it. Raises UsageError that says which keys miss or differ.
    """
    tensors = _stripped(tensors, module)
    wanted = module.state_dict()
    if _gaps(wanted, tensors):
        tensors = _published_format(module, tensors)
    missing = [name for name in wanted if name not in tensors and not name.endswith(_COUNTER)]
    differing = [n for n, t in wanted.items() if n in tensors and tensors[n].shape != t.shape]
    if (missing or differing) and not allow_partial:
        filled = 1 - (len(missing) + len(differing)) / max(1, len(wanted))
        parts = [f"{len(missing)} missing ({_some(missing)})"] * bool(missing)
        parts += [f"{len(differing)} of another shape ({_shapes(differing, wanted, tensors)})"] * bool(differing)
        raise UsageError(
            f"{source} does not fit {type(module).__name__}: {'; '.join(parts)}; it fills {filled:.0%}. "
            "Name the right architecture, or pass --bob-allow-partial"
        )
    fitting = {name: t for name, t in tensors.items() if name in wanted and name not in differing}
    if not fitting:
        raise UsageError(f"{source} has no tensor of {type(module).__name__}; name the architecture it was saved from")
    module.load_state_dict(fitting, strict=False)
    return sorted(set(tensors) - set(wanted))


def fill_in_order(module: "torch.nn.Module", tensors: Tensors, source: str) -> None:
    """Load tensors whose names differ, in order; every shape has to agree. A classifier at the end is left."""
    wanted = {n: t for n, t in module.state_dict().items() if not n.endswith(_COUNTER)}
    given = [t for n, t in tensors.items() if not n.endswith(_COUNTER)]
    pairs = list(zip(wanted.items(), given, strict=False))
    wrong = [name for (name, own), other in pairs if own.shape != other.shape]
    if wrong or len(given) not in (len(wanted), len(wanted) + 2):
        reason = _some(wrong) or "another number of tensors"
        raise UsageError(f"{source} does not fit {type(module).__name__}: {reason}")
    module.load_state_dict({name: other for (name, _), other in pairs}, strict=False)


def _gaps(wanted: Mapping[str, Any], tensors: Tensors) -> list[str]:
    needed = {n: t for n, t in wanted.items() if not n.endswith(_COUNTER)}
    return [n for n, t in needed.items() if n not in tensors or tensors[n].shape != t.shape]


def _stripped(tensors: Tensors, module: "torch.nn.Module") -> Tensors:
    """The tensors without the prefix under which most names fit the module."""
    wanted = set(module.state_dict())
    probes = sorted(wanted, key=len, reverse=True)[:20]
    prefixes = {""} | {name.removesuffix(probe) for probe in probes for name in tensors if name.endswith(probe)}
    best = max(sorted(prefixes), key=lambda prefix: sum(prefix + name in tensors for name in wanted))
    return {name.removeprefix(best): tensor for name, tensor in tensors.items() if name.startswith(best)}


def _published_format(module: "torch.nn.Module", tensors: Tensors) -> Tensors:
    """Names and shapes as the architecture's own checkpoint filter in timm gives them."""
    import sys

    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        converted: Tensors = convert(dict(tensors), module)
    except Exception:  # a filter that meets keys it does not know may raise anything; plain names are judged then
        return tensors
    return converted


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _some(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _shapes(names: list[str], wanted: Mapping[str, Any], tensors: Tensors) -> str:
    return _some(f"{n} {tuple(tensors[n].shape)} for {tuple(wanted[n].shape)}" for n in names)
