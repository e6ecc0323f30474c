"""What makes two backbones the same: weights, architecture, constructor arguments, adapter and package versions.

Equal weights are not enough: `efficientnet_lite0` and `tf_efficientnet_lite0` share a state_dict and give other
features, and so do ViTs with 6 and 12 heads.
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ADAPTER_VERSION = 1
"""Version of how this package turns a network into features; moves when features do."""


def fingerprint(
    module: "torch.nn.Module", architecture: str, arguments: Mapping[str, Any], code: Mapping[str, str]
) -> str:
    """16 hex digits over parameters, buffers, architecture id, resolved arguments, adapter and defining code."""
    identity = {"architecture": architecture, "arguments": arguments, "adapter": ADAPTER_VERSION, "code": code}
    sha = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode())
    for name, tensor in sorted(module.state_dict().items()):
        if not hasattr(tensor, "detach"):  # a module's own extra state
            sha.update(f"{name} {tensor!r}".encode())
            continue
        plain = tensor.detach().cpu().contiguous()
        sha.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        sha.update(plain.view(-1).view(_bytes_type()).numpy().tobytes())
    return sha.hexdigest()[:16]


def timm_code() -> dict[str, str]:
    """The packages whose versions define a timm network."""
    return {"timm": version("timm")}


def module_code(factory: Any, module: str = "") -> dict[str, str]:
    """The digest of the module that defines the factory, or of the named one where it does not say (a partial)."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(factory))
    except TypeError:
        path = getattr(sys.modules.get(module), "__file__", None)
    source = Path(path).read_bytes() if path else repr(factory).encode()
    return {"module": hashlib.sha256(source).hexdigest()[:16]}


def file_digest(path: str) -> str:
    """SHA-256 of a file's content, "" for no file."""
    if not path:
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes_type() -> "torch.dtype":
    import torch

    return torch.uint8
