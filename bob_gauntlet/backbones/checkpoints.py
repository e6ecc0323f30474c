"""Read a checkpoint without executing any of it. `checkpoint_parts` and `filling` load its weights into a network.

torch is imported inside the functions, so that naming a checkpoint costs nothing.
"""

import argparse
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bob_gauntlet.errors import UsageError

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]

Groups = dict[str, Tensors]
"""The state dicts of a checkpoint by the keys under which each lies, joined by dots; "" for the file itself."""

READER_VERSION = 2
"""Version of what is read of a checkpoint and refused; a memo of another version is not trusted."""

# mappings inside mappings that are opened
_MAX_DEPTH = 8
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


def read(path: Path) -> Groups:
    """Return every tensor of a checkpoint: where a state dict lies in the file -> its tensors by name.

    Nothing in the file is executed. Unpickling is limited to tensors, plain containers and what published checkpoints
    hold besides (argparse.Namespace, NumPy scalars). Raises UsageError for anything else, and says what to do.
    """
    check_file(path)
    content = _load_safetensors(path) if path.suffix == ".safetensors" else _unpickle(path)
    groups = _collect_tensors(content)
    if not groups:
        raise UsageError(f"{path} holds no tensors; save model.state_dict()")
    return groups


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
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # damage, or a type of number that this torch does not have, raises anything
        raise UsageError(f"{path} is damaged, or has unknown numbers ({first_line(error)}); copy it again") from error


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


def _collect_tensors(content: Any) -> Groups:
    """Return the named tensors of every mapping inside a checkpoint, by the keys that lead to the mapping."""
    import torch

    groups: Groups = {}
    pending, opened = [("", content, 0)], set()
    while pending:
        label, mapping, depth = pending.pop()
        # a pickled mapping may lie under two keys, or contain itself
        if not isinstance(mapping, Mapping) or id(mapping) in opened or depth > _MAX_DEPTH:
            continue
        opened.add(id(mapping))
        tensors = {str(name): value for name, value in mapping.items() if isinstance(value, torch.Tensor)}
        if tensors:
            groups[label] = {**groups.get(label, {}), **tensors}
        inner = [(f"{label}.{key}" if label else str(key), value, depth + 1) for key, value in mapping.items()]
        pending += reversed(inner)
    return groups


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type where the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
