"""Fingerprints of backbones: over weights, architecture, constructor arguments, adapter and package versions.

Equal weights do not make two backbones equal: `efficientnet_lite0` and `tf_efficientnet_lite0` have the same state_dict
but give different features, and so do ViTs with 6 and with 12 heads.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ADAPTER_VERSION = 1
"""Version of the code that turns a network into features; it is raised when features change."""


def fingerprint(
    module: "torch.nn.Module", architecture: str, arguments: Mapping[str, Any], code: Mapping[str, str]
) -> str:
    """Return 16 hex digits over parameters, buffers, architecture, resolved arguments, adapter and defining code."""
    identity = {"architecture": architecture, "arguments": arguments, "adapter": ADAPTER_VERSION, "code": code}
    sha = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode())
    for name, tensor in sorted(module.state_dict().items()):
        if not hasattr(tensor, "detach"):  # extra state of a module is not a tensor
            sha.update(f"{name} {tensor!r}".encode())
            continue
        plain = tensor.detach().cpu().contiguous()
        sha.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        sha.update(plain.view(-1).view(_bytes_type()).numpy().tobytes())
    return sha.hexdigest()[:16]


def timm_code() -> dict[str, str]:
    """Return the versions of the packages that define a timm network."""
    return {"timm": version("timm")}


def file_digest(path: str) -> str:
    """Return the SHA-256 of a file's content, "" for an empty path."""
    if not path:
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes_type() -> "torch.dtype":
    import torch

    return torch.uint8
