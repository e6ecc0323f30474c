"""Read a checkpoint without executing any of it, and load all of its weights into a network or refuse it.

torch is imported inside the functions, so that naming a checkpoint costs nothing.
"""

import argparse
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bob_gauntlet.errors import UsageError, named

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]

# keys under which published checkpoints hold their state_dict, in the order in which they are tried
_WRAPPER_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher", "backbone", "module", "model_state")
# the counter of batch norm, on which no feature depends
_COUNTER = "num_batches_tracked"
_EXTENSIONS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")


def check_file(path: Path) -> None:
    """Raise UsageError where a file is not a readable checkpoint; only its name and header are looked at."""
    if path.suffix not in _EXTENSIONS:
        raise UsageError(f"{path} is not named like a checkpoint; known extensions are {', '.join(_EXTENSIONS)}")
    if path.suffix == ".safetensors":
        _safetensors_names(path)
    elif (names := _archive_names(path)) is not None:
        if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
            raise UsageError(f"{path} is a TorchScript archive, which is code; save model.state_dict() instead")
        if not any(name.endswith("data.pkl") for name in names):
            raise UsageError(f"{path} is a zip archive, but not a checkpoint; save model.state_dict() with torch.save")


def read(path: Path) -> Tensors:
    """Return every tensor of a checkpoint by name; nothing in the file is executed.

    Unpickling is limited to tensors, plain containers and what published checkpoints hold besides
    (argparse.Namespace, NumPy scalars). Raises UsageError for anything else, and says what to do.
    """
    check_file(path)
    content = _load_safetensors(path) if path.suffix == ".safetensors" else _unpickle(path)
    tensors = _find_tensors(content)
    if not tensors:
        raise UsageError(f"{path} holds no tensors; save model.state_dict()")
    return tensors


def _archive_names(path: Path) -> list[str] | None:
    """Return the names of the members of a zip archive; None for any other file."""
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception as error:  # a damaged directory raises anything from BadZipFile to NotImplementedError
        raise UsageError(f"{path} is a damaged archive ({first_line(error)}); copy it again") from error


def _safetensors_names(path: Path) -> list[str]:
    """Return the names of the tensors in a safetensors file; UsageError where its header cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is damaged, or not a safetensors file ({error}); copy it again") from error


def _load_safetensors(path: Path) -> Any:
    """Read a safetensors file; UsageError where it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is damaged ({error}); copy it again") from error


def _unpickle(path: Path) -> Any:
    """Read a pickled checkpoint with torch's restricted unpickler, which executes no code of the file."""
    import pickle

    import numpy as np
    import torch

    harmless = [argparse.Namespace, np.dtype, np.ndarray, *_numpy_constructors(), *map(type, map(np.dtype, "fdilbB?"))]
    try:
        with torch.serialization.safe_globals(harmless), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of old pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        match = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {match[1]}" if match else "its pickle is damaged, or holds more than weights"
        raise UsageError(
            f"{path} is refused: {reason}; checkpoints are never executed, save model.state_dict()"
        ) from error
    except Exception as error:  # damaged bytes raise anything: struct.error, IndexError, AssertionError, ...
        reason = first_line(error)
        raise UsageError(f"{path} is truncated, or not a torch checkpoint ({reason}); copy it again") from error


def _numpy_constructors() -> list[Any]:
    """Return the functions that rebuild NumPy scalars and arrays, under their module names in NumPy 1 and 2."""
    import numpy as np

    core: Any = getattr(np, "_core", None) or np.core  # NumPy 2, NumPy 1
    functions, modules = ("scalar", "_reconstruct"), ("core", "_core")
    return [(getattr(core.multiarray, f), f"numpy.{m}.multiarray.{f}") for f in functions for m in modules]


def _find_tensors(content: Any) -> Tensors:
    """Return the named tensors of a checkpoint; the usual wrapper keys (state_dict, model, teacher, ...) are opened."""
    import torch

    for _ in range(8):  # a limit is needed, as a pickled dict may contain itself
        if not isinstance(content, Mapping):
            return {}
        key = next((key for key in _WRAPPER_KEYS if isinstance(content.get(key), Mapping)), None)
        if key is None:
            break
        content = content[key]
    return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}


def fill(module: "torch.nn.Module", tensors: Tensors, source: str, *, allow_partial: bool) -> list[str]:
    """Load the tensors into the whole module, and return the names of unused tensors (heads, projectors).

    A prefix such as `module.` or `backbone.` is removed where the names then fit. Where the names still do not fill the
    module, the architecture's own filter for published formats is tried. Raises UsageError that names the tensors that
    are missing or have another shape, unless `allow_partial`.
    """
    tensors = _strip_prefix(tensors, module)
    expected = module.state_dict()
    if _unfilled_names(expected, tensors):
        tensors = _convert_published_format(module, tensors)
    missing = [name for name in expected if name not in tensors and not name.endswith(_COUNTER)]
    differing = [name for name, tensor in expected.items() if name in tensors and tensors[name].shape != tensor.shape]
    if (missing or differing) and not allow_partial:
        filled = 1 - (len(missing) + len(differing)) / max(1, len(expected))
        problems = [f"{len(missing)} missing ({named(missing)})"] * bool(missing)
        shapes = _compare_shapes(differing, expected, tensors)
        problems += [f"{len(differing)} of another shape ({shapes})"] * bool(differing)
        raise UsageError(
            f"{source} does not fit {type(module).__name__}: {'; '.join(problems)}; it fills {filled:.0%}. "
            "Name the right architecture, or pass --bob-allow-partial"
        )
    fitting = {name: tensor for name, tensor in tensors.items() if name in expected and name not in differing}
    if not fitting:
        raise UsageError(f"{source} has no tensor of {type(module).__name__}; name the architecture it was saved from")
    module.load_state_dict(fitting, strict=False)
    return sorted(set(tensors) - set(expected))


def fill_in_order(module: "torch.nn.Module", tensors: Tensors, source: str) -> None:
    """Load tensors whose names differ from those of the module, in order.

    A classifier at the end (two more tensors than the module has) is ignored. Raises UsageError where a shape or the
    number of tensors differs.
    """
    expected = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith(_COUNTER)}
    given = [tensor for name, tensor in tensors.items() if not name.endswith(_COUNTER)]
    pairs = list(zip(expected.items(), given, strict=False))
    differing = [name for (name, expected_tensor), tensor in pairs if expected_tensor.shape != tensor.shape]
    if differing or len(given) not in (len(expected), len(expected) + 2):
        problem = f"another shape of {named(differing)}" if differing else "another number of tensors"
        raise UsageError(f"{source} does not fit {type(module).__name__}: {problem}; name the right architecture")
    module.load_state_dict({name: tensor for (name, _), tensor in pairs}, strict=False)


def _unfilled_names(expected: Mapping[str, Any], tensors: Tensors) -> list[str]:
    """Return the names of the module's tensors that have no tensor of the same name and shape to fill them."""
    needed = {name: tensor for name, tensor in expected.items() if not name.endswith(_COUNTER)}
    return [name for name, tensor in needed.items() if name not in tensors or tensors[name].shape != tensor.shape]


def _strip_prefix(tensors: Tensors, module: "torch.nn.Module") -> Tensors:
    """Return the tensors without the prefix with which most names fit the module."""
    expected = set(module.state_dict())
    probes = sorted(expected, key=len, reverse=True)[:20]
    prefixes = {""} | {name.removesuffix(probe) for probe in probes for name in tensors if name.endswith(probe)}
    best = max(sorted(prefixes), key=lambda prefix: sum(prefix + name in tensors for name in expected))
    return {name.removeprefix(best): tensor for name, tensor in tensors.items() if name.startswith(best)}


def _convert_published_format(module: "torch.nn.Module", tensors: Tensors) -> Tensors:
    """Return the tensors with the names and shapes that the architecture's own checkpoint filter in timm gives them."""
    import sys

    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        converted: Tensors = convert(dict(tensors), module)
    except Exception:  # a filter may raise anything on keys that it does not know; the plain names are used then
        return tensors
    return converted


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type where the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _compare_shapes(names: list[str], expected: Mapping[str, Any], tensors: Tensors) -> str:
    """Return the first few names with the shapes of the checkpoint and of the module."""
    return named(f"{name} {tuple(tensors[name].shape)} for {tuple(expected[name].shape)}" for name in names)
